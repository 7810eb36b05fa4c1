//! A dpkg and an apt, an rpm and a dnf of a test's own: their databases, and an archive of tiny packages for each, which are seen
//! in place of this machine's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is mounted over this machine's.
const PLACES: [(&str, &str); 12] = [
    ("dpkg", "/var/lib/dpkg"),
    ("apt", "/var/lib/apt"),
    ("cache", "/var/cache/apt"),
    ("log", "/var/log"),
    ("etc-apt", "/etc/apt"),
    ("etc-dpkg", "/etc/dpkg"),
    ("opt", "/opt"),
    ("debconf", "/var/cache/debconf"),
    ("rpm", "/var/lib/rpm"),
    ("dnf", "/var/lib/dnf"),
    ("dnf-cache", "/var/cache/dnf"),
    ("etc-dnf", "/etc/dnf"),
];

/// Debian's rpm has its database in the home directory.
const MACROS: &str = "/usr/lib/rpm/macros";

/// Makes a fresh one with its archive in the directory `$1`. `more` adds a package to the archive in the directory `$1`, with the rest of its
/// control file, and with a configuration file if its third word is `conf`.
const MAKE: &str = r#"
cd "$1"
mkdir -p fresh/dpkg/info fresh/dpkg/updates fresh/apt/lists fresh/cache/archives fresh/log/apt fresh/etc-apt fresh/etc-dpkg fresh/opt fresh/debconf archive
mkdir -p fresh/etc-apt/apt.conf.d fresh/etc-apt/preferences.d fresh/etc-apt/trusted.gpg.d fresh/etc-dpkg/dpkg.cfg.d
: >fresh/dpkg/status
: >fresh/dpkg/available
echo force-unsafe-io >fresh/etc-dpkg/dpkg.cfg
cat >more <<'END'
set -e
name=$2 version=$3 with=$4 rest=$5
made=$(mktemp -d)
mkdir -p "$made/DEBIAN" "$made/opt/$name"
echo "$version" >"$made/opt/$name/version"
printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Lab <lab@example.com>\nDescription: tiny\n%b' "$name" "$version" "$rest" >"$made/DEBIAN/control"
if [ "$with" = conf ]; then echo configured >"$made/opt/$name/conf"; echo "/opt/$name/conf" >"$made/DEBIAN/conffiles"; fi
if [ "$with" = fails ]; then printf '#!/bin/sh\necho it will not >&2\nexit 1\n' >"$made/DEBIAN/postinst"; chmod 755 "$made/DEBIAN/postinst"; fi
chmod 755 "$made"
dpkg-deb -Znone -b --root-owner-group "$made" "$1/${name}_$version.deb" >/dev/null
rm -r "$made"
cd "$1"
for file in *.deb; do
  dpkg-deb -f "$file"
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum <"$file" | cut -d' ' -f1)"
done >Packages
END
more() { sh more "$PWD/archive" "$@"; }
more ucspi-tcp 1:0.88-6 - ''
more xinetd 2.3.15.4 conf 'Recommends: extra\n'
more extra 1.0 - ''
more server 1.0 conf ''
more server 2.0 conf 'Depends: library (>= 1.5)\n'
more library 1.5 - ''
more printer 1.0 - 'Provides: printing\n'
more rival 1.0 - 'Conflicts: server\n'
more broken 1.0 fails ''
mkdir -p fresh/rpm fresh/dnf fresh/dnf-cache fresh/etc-dnf/repos.d rpms
sed 's|^%_dbpath.*|%_dbpath /var/lib/rpm|' /usr/lib/rpm/macros >macros
cat >more-rpm <<'END'
set -e
name=$2 version=$3 rest=$4
made=$(mktemp -d)
printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: tiny\nLicense: none\nBuildArch: noarch\n%b%%description\ntiny\n%%install\nmkdir -p %%{buildroot}/opt/%s\necho %s >%%{buildroot}/opt/%s/version\n%%files\n/opt/%s\n' \
  "$name" "$version" "$rest" "$name" "$version" "$name" "$name" >"$made/x.spec"
rpmbuild --quiet --define "_topdir $made" --define "_rpmdir $made" -bb "$made/x.spec" >/dev/null 2>&1
mv "$made"/noarch/*.rpm "$1"
rm -r "$made"
createrepo_c -q "$1"
END
more() { sh more-rpm "$PWD/rpms" "$@"; }
more xinetd 2.3.15 ''
more extra 1.0 'Epoch: 1\n'
more server 1.0 ''
more server 2.0 'Requires: library >= 1.5\n'
more library 1.5 ''
more rival 1.0 'Conflicts: server\n'
more old 1.0 ''
more successor 1.0 'Obsoletes: old\n'
"#;

/// Where the fresh ones are copied from: made once, for it stays the same.
fn made() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        // Kept for the next time by the digest of how it is made.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let sum = MAKE.bytes().fold(5381, |sum: u64, byte| sum.wrapping_mul(33) ^ u64::from(byte));
        let kept = base.join(format!("archive-{sum:x}"));
        if !kept.exists() {
            let made = tempfile::tempdir_in(base).unwrap();
            sh(MAKE, &[made.path()]);
            // Another process may have been first.
            let _ = std::fs::rename(made.path(), &kept);
        }
        kept
    })
}

fn sh(script: &str, words: &[&Path]) -> String {
    let output = Command::new("sh").args(["-ec", script, "sh"]).args(words).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub struct Archive {
    path: PathBuf,
}

impl Archive {
    /// Makes it as `packages` in `directory`: nothing is installed, and its lists are new.
    pub fn below(directory: &Path) -> Archive {
        let archive = Archive { path: directory.join("packages") };
        std::fs::create_dir(&archive.path).unwrap();
        sh(
            "cd \"$1\"; cp -a more archive more-rpm rpms macros fresh \"$2\"; chmod 755 \"$2\"",
            &[made(), &archive.path],
        );
        let line = format!("deb [trusted=yes] file:{} ./\n", archive.path.join("archive").display());
        std::fs::write(archive.path.join("fresh/etc-apt/sources.list"), line).unwrap();
        let rpms = archive.path.join("rpms").display().to_string();
        let line = format!("[lab]\nname=lab\nbaseurl=file://{rpms}\ngpgcheck=0\n");
        std::fs::write(archive.path.join("fresh/etc-dnf/repos.d/lab.repo"), line).unwrap();
        let main = "[main]\nbest=True\nplugins=0\nreposdir=/etc/dnf/repos.d\nclean_requirements_on_remove=True\n";
        std::fs::write(archive.path.join("fresh/etc-dnf/dnf.conf"), main).unwrap();
        for (name, _) in PLACES {
            std::fs::create_dir(archive.path.join(name)).unwrap();
        }
        archive.forget();
        archive.sh("apt-get -q update");
        sh("cd \"$1\"; rm -r fresh/apt; cp -a apt fresh/apt", &[&archive.path]);
        archive
    }

    /// Takes back what was done with packages. The directories stay: they are mounted.
    pub fn forget(&self) {
        for (name, _) in PLACES {
            let script = "find \"$1/$3\" -mindepth 1 -delete; cp -a \"$1/$2/$3/.\" \"$1/$3\"";
            sh(script, &[&self.path, Path::new("fresh"), Path::new(name)]);
        }
    }

    /// The lines of a shell that put it in place.
    pub fn mounts(&self) -> String {
        let line = |(name, place): (&str, &str)| format!("mount --bind '{}' {place}\n", self.path.join(name).display());
        let macros = format!("mount --bind '{}' {MACROS}\n", self.path.join("macros").display());
        PLACES.map(line).concat() + &macros
    }

    /// Where its packages put their files, seen from here.
    pub fn opt(&self) -> PathBuf {
        self.path.join("opt")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Runs a script of root's there.
    pub fn sh(&self, script: &str) -> String {
        let script = format!("{}export LC_ALL=C DEBIAN_FRONTEND=noninteractive\n{script}", self.mounts());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-ec", &script]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts one more package into the archive; its lists do not know of it.
    pub fn add(&self, name: &str, version: &str, rest: &str) {
        let words = [self.path("more"), self.path("archive"), name.into(), version.into(), "-".into(), rest.into()];
        sh("sh \"$@\"", &words.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    }

    /// The same for dnf, which reads it when it is asked for new lists.
    pub fn add_rpm(&self, name: &str, version: &str, rest: &str) {
        let words = [self.path("more-rpm"), self.path("rpms"), name.into(), version.into(), rest.into()];
        sh("sh \"$@\"", &words.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    }

    /// Name and version of all that rpm has.
    pub fn rpms(&self) -> String {
        let text = self.sh("rpm -qa --queryformat '%{NAME} %{VERSION}\n'");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join(", ")
    }

    /// Name, version and state of all that dpkg has.
    pub fn installed(&self) -> String {
        let mut lines: Vec<String> = self
            .sh("dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' 2>/dev/null || :")
            .lines()
            .map(|line| line.replace(" installed", ""))
            .collect();
        lines.sort();
        lines.join(", ")
    }
}
