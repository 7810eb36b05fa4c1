//! BIND's `named` on loopback, with a directory and ports of its own; ended when dropped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::sshd::{free_port, run, wait_for};

/// The key that servers here know, as `key_name` and `key_secret`; its algorithm is the part of its name after `by-`.
pub const SECRET: &str = "c2VjcmV0IG9mIHRoaXMgdGVzdCBhbG9uZSwgbm93aGVyZSBlbHNl";
pub const KEYS: &[&str] = &["by-hmac-sha256", "by-hmac-md5", "by-hmac-sha512"];

pub struct Named {
    pub address: String,
    pub port: u16,
    child: Child,
    directory: tempfile::TempDir,
}

/// A zone file for `ORIGIN` with a name server at this address: serial 10, an hour's TTL.
pub fn zone(lines: &str) -> String {
    format!("$TTL 3600\n@ IN SOA ns hostmaster 10 3600 600 86400 300\n  IN NS ns\nns IN A 127.0.0.1\n{lines}")
}

impl Named {
    /// Starts one on 127.0.0.1 whose `zones` are the rest of its configuration, and whose files are `files`.
    pub fn start(zones: &str, files: &[(&str, &str)]) -> Named {
        Named::at(free_port(), zones, files)
    }

    pub fn at(port: u16, zones: &str, files: &[(&str, &str)]) -> Named {
        let address = "127.0.0.1";
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, text) in files {
            std::fs::write(path(name), text).unwrap();
        }
        let control = free_port();
        let key = |name: &&str| {
            let algorithm = name.trim_start_matches("by-");
            format!("key \"{name}\" {{ algorithm {algorithm}; secret \"{SECRET}\"; }};\n")
        };
        let keys: String = KEYS.iter().map(key).collect();
        let text = format!(
            "options {{ directory \"{directory}\"; listen-on port {port} {{ {address}; }}; listen-on-v6 {{ none; }};\n\
             pid-file none; session-keyfile none; recursion no; dnssec-validation no; allow-transfer {{ any; }};\n\
             notify explicit; minimal-responses no; }};\n{keys}\
             controls {{ inet 127.0.0.1 port {control} allow {{ 127.0.0.1; }} keys {{ \"by-hmac-sha256\"; }}; }};\n{zones}\n",
            directory = directory.path().display(),
        );
        std::fs::write(path("named.conf"), text).unwrap();
        let rndc = format!(
            "key \"by-hmac-sha256\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             options {{ default-key \"by-hmac-sha256\"; default-server 127.0.0.1; default-port {control}; }};\n"
        );
        std::fs::write(path("rndc.conf"), rndc).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let child = Command::new("/usr/sbin/named")
            .args(["-g", "-n", "1", "-c"])
            .arg(path("named.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("named; it is in the package bind9");
        let named = Named { address: address.into(), port, child, directory };
        let running =
            || std::fs::read_to_string(named.path("log")).unwrap().lines().any(|line| line.ends_with(" running"));
        assert!(wait_for(running), "named does not start: {}", std::fs::read_to_string(named.path("log")).unwrap());
        named
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What `dig +short` prints.
    pub fn short(&self, question: &str) -> String {
        self.dig(&format!("+short {question}"))
    }

    /// The records of a zone but its SOA, one a line, as they are transferred.
    pub fn records(&self, zone: &str) -> String {
        let all = self.dig(&format!("+noall +answer -t AXFR {zone}"));
        let lines = all.lines().filter(|line| !line.contains("\tSOA\t"));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    pub fn serial(&self, zone: &str) -> u32 {
        self.short(&format!("{zone} SOA")).split(' ').nth(2).and_then(|serial| serial.parse().ok()).unwrap_or(0)
    }

    fn dig(&self, words: &str) -> String {
        let mut dig = Command::new("dig");
        dig.args([&format!("@{}", self.address), "-p", &self.port.to_string(), "+tcp"]).args(words.split(' '));
        String::from_utf8(run(&mut dig).stdout).unwrap()
    }

    /// Changes a zone by hand, as another administrator would.
    pub fn nsupdate(&self, lines: &str) {
        let text = format!("server {} {}\n{lines}\nsend\n", self.address, self.port);
        std::fs::write(self.path("by-hand"), text).unwrap();
        let key = format!("hmac-sha256:by-hmac-sha256:{SECRET}");
        run(Command::new("nsupdate").args(["-v", "-y", &key]).arg(self.path("by-hand")));
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
