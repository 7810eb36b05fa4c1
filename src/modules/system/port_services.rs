//! Ports that lead to another host by tcpserver and tcpclient (ucspi-tcp), one service of svscan (daemontools) for each.

use async_trait::async_trait;
use serde_json::json;

use crate::change::{Back, Change};
use crate::host::View;
use crate::modules::files::rights::own;
use crate::modules::{Module, ModuleError, Planned, Results};
use crate::transport::command::quote;
use crate::transport::{Command, Content, Links, Node, Want};

use super::network::LISTENING;
use super::port_forward::{Wanted, refuse_taken};

/// Where these programs are, whatever the login's PATH.
const PATH: &str = "PATH=/command:/usr/local/bin:/usr/local/sbin:/bin:/sbin:/usr/bin:/usr/sbin";

/// What runs for each connection: tcpclient has the other host at descriptors 6 and 7. When that ends the session, the copy from
/// here is ended, too; when this side ends it, the other host's server does, in its own time.
const PASS: &str = r#"exec 3<&0; cat <&3 >&7 & up=$!; exec 3<&-; cat <&6; kill "$up" 2>/dev/null"#;

pub(super) struct Services {
    /// Nothing: none shall lead anywhere.
    pub wanted: Option<Wanted>,
    pub name: String,
    /// Where services' directories are made, and where svscan looks for them.
    pub supervise: String,
    pub services: String,
}

const UP: &str = "runs";
const DOWN: &str = "is down";
const OLDER: &str = "runs an older command";
const NOBODY: &str = "is not supervised";

#[async_trait]
impl Module for Services {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let script = format!(
            "{PATH}\n{{ for program in tcpserver tcpclient svc svstat; do command -v $program >/dev/null || echo \"no $program\"; done\n\
             cd {} && for name in {}-*; do [ ! -d \"$name\" ] || echo \"have $name\"; done\n{LISTENING}\n}} 2>/dev/null",
            quote(&self.supervise),
            self.name
        );
        let told = host.probe(&Command::shell(script)).await?.text();
        let told: Vec<&str> = told.lines().collect();
        if let Some(program) = told.iter().find_map(|line| line.strip_prefix("no ")).filter(|_| self.wanted.is_some()) {
            let message = format!("`{}` has no `{program}`, which lets ports lead elsewhere", host.name);
            return Err(ModuleError::failed(format!(
                "{message}\nhint: ucspi-tcp and daemontools have it; or `by: xinetd`"
            )));
        }
        let (mut changes, mut warnings) = (Vec::new(), Vec::new());
        let ports = self.wanted.iter().flat_map(|wanted| wanted.ports.iter().copied());
        let names: Vec<String> = ports.clone().map(|(here, _)| format!("{}-{here}", self.name)).collect();
        // What leads somewhere and shall not any more goes first: another one may have its port.
        for name in told.iter().filter_map(|line| line.strip_prefix("have ")) {
            let of_ours =
                name.rsplit_once('-').is_some_and(|(start, port)| start == self.name && port.parse::<u16>().is_ok());
            if of_ours && !names.iter().any(|wanted| wanted == name) {
                changes.extend(self.ended(host, name).await?);
            }
        }
        for ((here, there), name) in ports.zip(&names) {
            let Some(wanted) = &self.wanted else { break };
            let link = host.look_all(&[(format!("{}/{name}", self.services), Links::Keep)], Want::Attributes).await?;
            if !link[0].exists() && !host.plans_ahead() {
                refuse_taken(host, std::iter::once(here), &told)?;
            }
            let (more, warning) = self.served(host, (name, &run(wanted, (here, there)))).await?;
            changes.extend(more);
            warnings.extend(warning);
        }
        let mut result = Results::new();
        result.insert("services".into(), json!(names));
        Ok(Planned { warnings, ..Planned::new(changes, result) })
    }
}

impl Services {
    fn paths(&self, name: &str) -> [(String, Links); 3] {
        let directory = format!("{}/{name}", self.supervise);
        [
            (directory.clone(), Links::Follow),
            (format!("{directory}/run"), Links::Follow),
            (format!("{}/{name}", self.services), Links::Keep),
        ]
    }

    /// Returns what makes a service run its command, and a warning where nobody will start it.
    async fn served(
        &self,
        host: &View,
        (name, text): (&str, &str),
    ) -> Result<(Vec<Change>, Option<String>), ModuleError> {
        let paths = self.paths(name);
        let [directory, run, link] =
            host.look_all(&paths, Want::Content).await?.try_into().unwrap_or([const { Node::Absent }; 3]);
        let state = host.state(&format!("service {name}"), &self.probe(name)).await?;
        let mut changes = Vec::new();
        let made = |node: &Node| node.permissions().cloned().unwrap_or_else(|| own(host, 0o755));
        if !directory.exists() {
            let after = Node::Directory { permissions: made(&directory), modified: None };
            changes.extend(Change::path(paths[0].0.as_str(), directory, after));
        }
        let after = Node::File { content: Content::here(text.as_bytes()), permissions: made(&run), modified: None };
        let edited = run.without_time() != after;
        if edited {
            changes.extend(Change::path(paths[1].0.as_str(), run, after));
        }
        let is_linked = matches!(&link, Node::Link { target, .. } if *target == paths[0].0);
        if !is_linked {
            let permissions = made(&link);
            let after = Node::Link { target: paths[0].0.clone(), permissions };
            changes.extend(Change::path(paths[2].0.as_str(), link, after));
        }
        // svscan itself starts what it has not had before.
        if state == NOBODY {
            let warning =
                is_linked.then(|| format!("svscan has not started `{name}`: does it look into `{}`?", self.services));
            return Ok((changes, warning));
        }
        let before = if edited && state == UP { OLDER.to_string() } else { state };
        let by = self.ask(name, &format!("svc -ut {}", quote(&paths[0].0)), UP);
        let change = Change::state(format!("service {name}"), self.probe(name), (before, UP.into()), vec![by]);
        changes.extend(change.map(|change| change.taken_back(Back::Again)));
        Ok((changes, None))
    }

    /// Returns what ends a service: its directory stays, and nobody starts it.
    async fn ended(&self, host: &View, name: &str) -> Result<Vec<Change>, ModuleError> {
        let paths = self.paths(name);
        let link = host.look_all(&paths[2..], Want::Attributes).await?.remove(0);
        let state = host.state(&format!("service {name}"), &self.probe(name)).await?;
        let mut changes: Vec<Change> = Change::path(paths[2].0.as_str(), link, Node::Absent).into_iter().collect();
        if [UP, OLDER].contains(&state.as_str()) {
            let svc = |flag: &str| format!("svc -{flag} {}", quote(&paths[0].0));
            let change = Change::state(
                format!("service {name}"),
                self.probe(name),
                (state, DOWN.into()),
                vec![self.ask(name, &svc("d"), DOWN)],
            );
            changes.extend(change.map(|change| change.taken_back(Back::By(vec![self.ask(name, &svc("u"), UP)]))));
        }
        Ok(changes)
    }

    /// The process's time of start is that of `supervise/status`, which supervise writes then.
    fn says(&self, name: &str) -> String {
        let directory = quote(&format!("{}/{name}", self.supervise));
        format!(
            "{PATH}\nsays() {{ case $(svstat {directory} 2>/dev/null) in\n*': up '*) \
             if [ -n \"$(find {directory}/run -newer {directory}/supervise/status 2>/dev/null)\" ]; then echo '{OLDER}'; else echo '{UP}'; fi;;\n\
             *': down '*) echo '{DOWN}';;\n*) echo '{NOBODY}';;\nesac; }}\n"
        )
    }

    fn probe(&self, name: &str) -> Command {
        Command::shell(format!("{}says", self.says(name)))
    }

    /// Does something and waits until it has come about.
    fn ask(&self, name: &str, command: &str, until: &str) -> Command {
        Command::shell(format!(
            "{}{command} || exit\nn=0; while [ \"$(says)\" != '{until}' ] && [ $n -lt 20 ]; do n=$((n + 1)); sleep 1; done\n:",
            self.says(name)
        ))
    }
}

/// Returns the service's command.
fn run(wanted: &Wanted, (here, there): (u16, u16)) -> String {
    let Wanted { to, address, .. } = wanted;
    let address = address.map_or("0".to_string(), |address| address.to_string());
    format!(
        "#!/bin/sh\n# Sessions at port {here} go on at {to}.\n{PATH}\nexport PATH\nexec 2>&1\n\
         exec tcpserver -R -H -l 0 -c 500 -u \"$(id -u nobody)\" -g \"$(id -g nobody)\" {address} {here} \\\n  \
         tcpclient -R -H -l 0 {to} {there} sh -c '{PASS}'\n"
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_service_is_one_port() {
        let wanted = Wanted { to: Ipv4Addr::new(10, 77, 0, 20), address: None, ports: vec![(8110, 110)] };
        let text = run(&wanted, (8110, 110));
        assert!(text.contains(" 0 8110 \\\n  tcpclient -R -H -l 0 10.77.0.20 110 sh -c '"), "{text}");
        assert!(!PASS.contains('\''));
    }
}
