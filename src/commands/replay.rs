//! A plan on its way to its hosts, whoever made it: `apply` and `undo`.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::conduct::{Reading, conduct};
use super::passwords::Given;
use super::printing::Printing;
use super::{play, state, terminal};
use crate::cli::Stop;
use crate::playbook::tags::Selection;
use crate::report;
use crate::run::connections::{Connections, Defaults};
use crate::run::journal::Head;
use crate::run::locks::Rules;
use crate::run::plan::{Before, Plan};
use crate::run::{Mode, Options, Run};
use crate::template::Templates;
use crate::vars::Fleet;

/// What is applied, and how.
pub struct Replay {
    pub plan: Plan,
    /// What of it was made before.
    pub before: Before,
    /// Whether the hosts are only compared with it.
    pub mode: Mode,
    /// What the journal says of the run.
    pub journal: Head,
    /// Where passwords are looked for.
    pub fleet: Arc<Fleet>,
    pub passwords: Given,
    pub locking: Rules,
    pub limit: Option<String>,
    pub forks: usize,
    pub name: String,
    pub printing: Printing,
}

/// Applies a plan, and returns the exit code.
pub async fn replay(replay: Replay) -> Result<u8, Stop> {
    let Replay { plan, before, mode, journal, fleet, passwords, locking, limit, forks, name, printing } = replay;
    let verbosity = printing.verbose;
    let templates = Arc::new(Templates::new());
    let loader = play::loader(&fleet, &templates);
    let Given { ssh: password, r#become: become_password, vault } = passwords;
    let defaults = Defaults { password, become_password, ..Defaults::default() };
    let progress = report::human::progress().filter(|_| printing.draws());
    let connections =
        Connections::new(fleet.clone(), templates.clone(), defaults).with_keyring(terminal::keyring(progress.clone()));
    let (sender, events) = mpsc::unbounded_channel();
    let journal = Arc::new(state::journal(journal, mode, vault)?);
    let run = Arc::new(Run {
        options: Options {
            mode,
            limit,
            tags: Selection::default(),
            start_at: None,
            forks,
            verbosity,
            force_handlers: false,
            playbooks: Vec::new(),
            seed: "".into(),
        },
        fleet,
        templates,
        connections: Arc::new(connections),
        loader,
        locks: state::locks(&journal, locking),
        journal,
        events: sender,
        progress: Default::default(),
        plan: None,
        earlier: None,
        guard: None,
    });
    let go_on = "`cutover resume last` goes on where this run stopped".into();
    let reading = Reading { events, name, printing, progress, go_on };
    Ok(match conduct(run, reading, async |run| run.replay(&plan, before).await).await? {
        Ok(recap) => recap.exit_code(),
        Err(code) => code,
    })
}
