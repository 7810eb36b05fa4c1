//! `port_forward`: TCP ports of a host that lead to another host, by xinetd or by tcpserver below svscan.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::change::{Back, Change};
use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::files::rights::own;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Content, Node, Want};

use super::network::LISTENING;
use super::port_services::Services;

pub const PORT_FORWARD: Entry = Entry {
    name: "port_forward",
    summary: "Lets TCP ports of a host lead to another one, by xinetd or by tcpserver, whichever the host has",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "\
- name: who still comes to the old host for mail gets it from the new one
  port_forward:
    to: 10.77.0.20
    ports: [110, 143, 993, 995, 587]
",
    build,
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("to", Kind::Text, "The IPv4 address of the other host. It sees all connections come from this one."),
    Argument::new("ports", Kind::Any, "A list of ports; `8110:110` leads from 8110 here to 110 there."),
    Argument::new("address", Kind::Text, "The IPv4 address of this host to listen at. The default is all of them."),
    Argument::new(
        "by",
        Kind::Text,
        "What passes connections on: `xinetd`, the default, or `daemontools`: a service of tcpserver and tcpclient for each port.",
    )
    .choices(&["xinetd", "daemontools"]),
    Argument::new("supervise", Kind::Path, "Where services' directories are made. The default is `/var/qmail/supervise`."),
    Argument::new("services", Kind::Path, "Where svscan looks for services. The default is `/service`."),
    Argument::new("name", Kind::Text, "The name of xinetd's file, or the beginning of services'. The default is `forward`."),
    Argument::new("directory", Kind::Path, "Where xinetd reads its files. The default is `/etc/xinetd.d`."),
    Argument::new("pidfile", Kind::Path, "The file with the process id of xinetd. The default is `/run/xinetd.pid`."),
    Argument::new("state", Kind::Text, "Whether the ports shall lead there. The default is `present`.")
        .choices(&["present", "absent"]),
];

#[derive(Deserialize)]
struct Fields {
    to: Option<String>,
    #[serde(default)]
    ports: Vec<Value>,
    address: Option<String>,
    by: Option<String>,
    supervise: Option<String>,
    services: Option<String>,
    name: Option<String>,
    directory: Option<String>,
    pidfile: Option<String>,
    state: Option<String>,
}

struct Forward {
    /// Nothing: none shall lead anywhere.
    wanted: Option<Wanted>,
    name: String,
    file: String,
    directory: String,
    pidfile: String,
}

pub(super) struct Wanted {
    pub to: Ipv4Addr,
    pub address: Option<Ipv4Addr>,
    /// From here, to there.
    pub ports: Vec<(u16, u16)>,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    let fields: Fields = arguments.read()?;
    let name = fields.name.clone().unwrap_or_else(|| "forward".into());
    // xinetd.conf(5): files with a dot or a tilde in their names are not read.
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
        return Err(Diagnostic::new(format!("`{name}` is no name of a file that xinetd reads"))
            .hint("letters, digits, `-` and `_`"));
    }
    let wanted = if fields.state.as_deref() == Some("absent") { None } else { Some(wanted(&fields)?) };
    if fields.by.as_deref() == Some("daemontools") {
        let path =
            |given: &Option<String>, usual: &str| given.as_deref().unwrap_or(usual).trim_end_matches('/').to_string();
        return Ok(Box::new(Services {
            wanted,
            name,
            supervise: path(&fields.supervise, "/var/qmail/supervise"),
            services: path(&fields.services, "/service"),
        }));
    }
    let directory = fields.directory.clone().unwrap_or_else(|| "/etc/xinetd.d".into());
    Ok(Box::new(Forward {
        wanted,
        file: format!("{}/{name}", directory.trim_end_matches('/')),
        pidfile: fields.pidfile.unwrap_or_else(|| "/run/xinetd.pid".into()),
        directory,
        name,
    }))
}

fn wanted(fields: &Fields) -> Result<Wanted, Diagnostic> {
    let address = |name: &str, text: &str| {
        let parsed = text.parse::<Ipv4Addr>();
        parsed.map_err(|_| Diagnostic::new(format!("`{name}: {text}` of `port_forward` is no IPv4 address")))
    };
    let to = fields.to.as_deref().ok_or_else(|| Diagnostic::new("`port_forward` needs the argument `to`"))?;
    let to = address("to", to)?;
    let own = fields.address.as_deref().map(|text| address("address", text)).transpose()?;
    let mut ports = Vec::new();
    for item in &fields.ports {
        let text = item.as_str().map_or_else(|| item.to_string(), str::to_string);
        let (here, there) = text.split_once(':').unwrap_or((&text, &text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
        let (Some(here), Some(there)) = (port(here), port(there)) else {
            return Err(Diagnostic::new(format!("`{text}` in `ports` is no port")).hint("`110`, or `8110:110`"));
        };
        if (to.is_loopback() || Some(to) == own) && here == there {
            return Err(Diagnostic::new(format!("port {here} would lead to itself")));
        }
        if ports.iter().any(|(other, _)| *other == here) {
            return Err(Diagnostic::new(format!("port {here} is in `ports` twice")));
        }
        ports.push((here, there));
    }
    match ports.is_empty() {
        true => Err(Diagnostic::new("`port_forward` needs `ports`")),
        false => Ok(Wanted { to, address: own, ports }),
    }
}

/// Returns the text of xinetd's file.
fn text(name: &str, wanted: &Wanted) -> String {
    let Wanted { to, address, ports } = wanted;
    let bind = address.map_or_else(String::new, |address| format!("\tbind\t\t= {address}\n"));
    let services = ports.iter().map(|(here, there)| {
        format!(
            "service {name}-{here}\n{{\n\ttype\t\t= UNLISTED\n\tdisable\t\t= no\n\tsocket_type\t= stream\n\tprotocol\t= tcp\n\
             \twait\t\t= no\n\tuser\t\t= nobody\n\tport\t\t= {here}\n{bind}\tredirect\t= {to} {there}\n\
             \tinstances\t= UNLIMITED\n\tper_source\t= UNLIMITED\n\tcps\t\t= 1000 1\n}}\n"
        )
    });
    services.collect()
}

/// Prints whether xinetd is there and runs.
const LOOK: &str = r#"PATH=$PATH:/sbin:/usr/sbin
command -v xinetd >/dev/null && echo there
read -r pid <"$pidfile" && kill -s 0 "$pid" && echo running"#;

const READ: &str = "has read its files";
const UNREAD: &str = "has older files";

#[async_trait]
impl Module for Forward {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let look = Command::shell(format!("pidfile={}\n{{ {LOOK}\n{LISTENING}\n}} 2>/dev/null", quote(&self.pidfile)));
        let told = host.probe(&look).await?.text();
        let told: Vec<&str> = told.lines().collect();
        if self.wanted.is_some() && !told.contains(&"there") {
            let message = format!("`{}` has no xinetd, which lets ports lead elsewhere", host.name);
            return Err(ModuleError::failed(format!("{message}\nhint: `package: name=xinetd state=present`")));
        }
        let node = host.look(&self.file, Want::Content).await?;
        let mut changes = Vec::new();
        let after = match &self.wanted {
            None => Node::Absent,
            Some(wanted) => {
                if !node.exists() && !host.plans_ahead() {
                    refuse_taken(host, wanted.ports.iter().map(|(here, _)| *here), &told)?;
                }
                let permissions = node.permissions().cloned().unwrap_or_else(|| own(host, 0o644));
                let content = Content::here(text(&self.name, wanted).as_bytes());
                Node::File { content, permissions, modified: None }
            }
        };
        let mut warnings = Vec::new();
        // What is there already has a time of its own.
        if node.without_time() != after {
            changes.extend(Change::path(self.file.as_str(), node, after));
        }
        if told.contains(&"running") {
            changes.extend(self.reload(host, !changes.is_empty()).await?);
        } else if !changes.is_empty() {
            warnings.push(format!("xinetd does not run on `{}`: it reads `{}` when it starts", host.name, self.file));
        }
        let mut result = Results::new();
        result.insert("file".into(), json!(self.file));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

/// xinetd would only log that a port is taken, and tcpserver be started again for ever.
pub(super) fn refuse_taken(
    host: &View,
    mut ports: impl Iterator<Item = u16>,
    told: &[&str],
) -> Result<(), ModuleError> {
    match ports.find(|port| told.contains(&format!("port {port:04X}").as_str())) {
        None => Ok(()),
        Some(port) => Err(ModuleError::failed(format!(
            "somebody listens at port {port} of `{}`\nhint: stop that first, with `service` or by its file for xinetd",
            host.name
        ))),
    }
}

impl Forward {
    /// Returns the change by which xinetd reads its files. The file with its process id, which it writes when it starts, is
    /// stamped with the time of each reload.
    async fn reload(&self, host: &View, edited: bool) -> Result<Option<Change>, ModuleError> {
        let (directory, pidfile) = (quote(&self.directory), quote(&self.pidfile));
        let probe = Command::shell(format!(
            "if [ -n \"$(find {directory} -newer {pidfile} 2>/dev/null)\" ]; then echo '{UNREAD}'; else echo '{READ}'; fi"
        ));
        let found = host.state("xinetd", &probe).await?;
        let before = if edited { UNREAD.into() } else { found };
        let by =
            Command::shell(format!("read -r pid <{pidfile} && kill -s HUP \"$pid\" && sleep 1 && touch {pidfile}"));
        let change = Change::state("xinetd", probe, (before, READ.into()), vec![by]);
        Ok(change.map(|change| change.taken_back(Back::Again)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::find;

    fn built(value: Value) -> Result<(), String> {
        let entry = find("port_forward").unwrap();
        let arguments = entry.arguments(value.as_object().unwrap().clone()).map_err(|error| error.to_string())?;
        (entry.build)(&arguments).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_port_is_a_service_of_its_own() {
        let wanted = Wanted { to: Ipv4Addr::new(10, 77, 0, 20), address: None, ports: vec![(110, 110), (8995, 995)] };
        let text = text("forward", &wanted);
        assert_eq!(text.matches("service forward-").count(), 2);
        for line in ["port\t\t= 8995\n", "redirect\t= 10.77.0.20 995\n", "redirect\t= 10.77.0.20 110\n"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!text.contains("bind"));
    }

    #[test]
    fn what_leads_nowhere_or_to_itself_is_refused() {
        for (value, says) in [
            (json!({"ports": [110]}), "needs the argument `to`"),
            (json!({"to": "10.77.0.20"}), "needs `ports`"),
            (json!({"to": "new.example.com", "ports": [110]}), "is no IPv4 address"),
            (json!({"to": "10.77.0.20", "ports": [0]}), "is no port"),
            (json!({"to": "10.77.0.20", "ports": ["pop3"]}), "is no port"),
            (json!({"to": "10.77.0.20", "ports": [110, "110:25"]}), "twice"),
            (json!({"to": "127.0.0.1", "ports": [110]}), "lead to itself"),
            (json!({"to": "10.77.0.20", "address": "10.77.0.20", "ports": [110]}), "lead to itself"),
            (json!({"to": "10.77.0.20", "ports": [110], "name": "a.conf"}), "no name of a file"),
        ] {
            assert!(built(value.clone()).is_err_and(|error| error.contains(says)), "{value}");
        }
        assert_eq!(built(json!({"to": "10.77.0.20", "ports": [110, "8143:143"]})), Ok(()));
        assert_eq!(built(json!({"state": "absent"})), Ok(()));
    }
}
