//! `cutover run`: one task on hosts of a pattern, with the flags of `ansible`.

use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::passwords::Passwords;
use super::printing::Printing;
use super::{play, state};
use crate::cli::Stop;
use crate::inventory::Inventory;
use crate::vars::{self, Fleet};

/// Run one task on the hosts of a pattern, as `ansible` does.
///
/// With --check it shows what would change and changes nothing; a plain run is in the journal, and `cutover undo` takes it back.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cutover run web -a uptime\n  cutover run all -m service -a 'name=xinetd state=restarted' -b\n  \
    cutover run 'mx*:!mx3' -m copy -a '{\"dest\": \"/etc/motd\", \"content\": \"moved\\n\"}' --check"
)]
pub struct Arguments {
    /// The hosts: names, groups, globs, as a play's `hosts`
    pattern: String,
    /// The module
    #[arg(short, long, value_name = "NAME", default_value = "command")]
    module_name: String,
    /// Its arguments: `key=value` words, JSON, or a command line
    #[arg(short, long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    args: String,
    /// Inventory: a file, a directory, or hosts with a comma (`web1,`); may be repeated
    #[arg(short, long, visible_alias = "inventory-file", value_name = "INVENTORY", env = "ANSIBLE_INVENTORY")]
    inventory: Vec<String>,
    /// Only these hosts, a pattern
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,
    /// Variables stronger than all others: `k=v`, JSON or YAML, `@FILE`; may be repeated
    #[arg(short, long, value_name = "VARS")]
    extra_vars: Vec<String>,
    /// Change nothing; show what would change
    #[arg(short = 'C', long)]
    check: bool,
    /// Show the difference of every change, as a play is printed
    #[arg(short = 'D', long)]
    diff: bool,
    /// How many hosts work at once
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    forks: usize,
    /// Log in as this user
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Log in with this private key
    #[arg(long, visible_alias = "key-file", value_name = "FILE")]
    private_key: Option<PathBuf>,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    locking: state::Locking,
    /// Connection of hosts that do not say: `ssh` or `local`
    #[arg(short, long, value_name = "CONNECTION")]
    connection: Option<String>,
    /// Seconds to wait for a connection
    #[arg(short = 'T', long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Flags of `ssh` for hosts that do not say: -o -J -i -p -l -F -C -4 -6 -b
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    ssh_common_args: Option<String>,
    /// Further flags of `ssh`
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    ssh_extra_args: Option<String>,
    /// Become another user (root unless --become-user says)
    #[arg(short, long)]
    r#become: bool,
    /// How to become: `sudo`, `su` or `doas`
    #[arg(long, value_name = "METHOD")]
    become_method: Option<String>,
    /// Become this user
    #[arg(long, value_name = "USER")]
    become_user: Option<String>,
    /// Print each host in one line
    #[arg(short, long)]
    one_line: bool,
    /// Seconds that the task may go on behind the connection; it is asked how far it is every --poll seconds
    #[arg(short = 'B', long, value_name = "SECONDS")]
    background: Option<u64>,
    /// Seconds between these questions; 0: it is left alone, and `-m async_status -a jid=...` asks
    #[arg(short = 'P', long, value_name = "SECONDS", default_value_t = 15, requires = "background")]
    poll: u64,
    /// Seconds that the task may take; 0: as long as it takes
    #[arg(long, value_name = "SECONDS")]
    task_timeout: Option<u64>,
    /// Also write each host's result into a file of its own in this directory
    #[arg(short, long, value_name = "DIRECTORY")]
    tree: Option<PathBuf>,
    /// Where `group_vars/`, `host_vars/`, `roles/` and `library/` of a playbook would be
    #[arg(long, value_name = "DIRECTORY")]
    playbook_dir: Option<PathBuf>,
    /// Where modules of your own are, too; may be repeated, or have colons
    #[arg(short = 'M', long, value_name = "DIRECTORY", value_delimiter = ':')]
    module_path: Vec<PathBuf>,
    /// Accepted for Ansible's sake: facts are kept for one run only
    #[arg(long)]
    flush_cache: bool,
    /// List the hosts and stop
    #[arg(long)]
    list_hosts: bool,
    /// Say more; twice also says where tasks stand
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

pub async fn run(arguments: &Arguments) -> Result<u8, Stop> {
    if arguments.list_hosts {
        return list_hosts(arguments);
    }
    let Arguments { inventory, limit, extra_vars, user, private_key, connection, .. } = arguments;
    let play = play::Arguments {
        playbooks: vec![arguments.playbook_dir.clone().unwrap_or_default().join("ad-hoc")],
        module_path: arguments.module_path.clone(),
        given: Some(playbook(arguments)),
        inventory: inventory.clone(),
        limit: limit.clone(),
        extra_vars: extra_vars.clone(),
        check: arguments.check,
        forks: arguments.forks,
        user: user.clone(),
        private_key: private_key.clone(),
        passwords: arguments.passwords.clone(),
        locking: arguments.locking,
        connection: connection.clone(),
        timeout: arguments.timeout,
        ssh_common_args: arguments.ssh_common_args.clone(),
        ssh_extra_args: arguments.ssh_extra_args.clone(),
        r#become: arguments.r#become,
        become_method: arguments.become_method.clone(),
        become_user: arguments.become_user.clone(),
        printing: match arguments.diff {
            true => Printing::human(arguments.verbose),
            false => Printing::minimal(arguments.one_line, arguments.verbose),
        }
        .with_tree(arguments.tree.clone()),
        ..play::Arguments::default()
    };
    play::run(&play).await
}

/// Prints the hosts that the task would be for.
fn list_hosts(arguments: &Arguments) -> Result<u8, Stop> {
    arguments.passwords.vault.read()?;
    let fleet = Fleet::new(Inventory::load(&arguments.inventory)?, vars::extra(&arguments.extra_vars)?);
    let selected = fleet.select(&arguments.pattern)?;
    for warning in &selected.unmatched {
        writeln!(anstream::stderr(), "[WARNING]: {}", warning.message).map_err(Stop::Output)?;
    }
    let mut hosts = selected.hosts;
    if let Some(limit) = &arguments.limit {
        let within = fleet.limit(limit)?;
        hosts.retain(|host| within.contains(host));
    }
    let lines: String = hosts.iter().map(|host| format!("    {host}\n")).collect();
    write!(anstream::stdout(), "  hosts ({}):\n{lines}", hosts.len()).map_err(Stop::Output)?;
    Ok(0)
}

/// Returns the playbook of one task; JSON is YAML.
fn playbook(arguments: &Arguments) -> String {
    let mapping = serde_json::from_str(&arguments.args).ok().filter(Value::is_object);
    let given = mapping.unwrap_or_else(|| match arguments.args.as_str() {
        "" => Value::Null,
        text => text.into(),
    });
    let mut task = json!({ &arguments.module_name: given });
    let times = [("async", arguments.background), ("poll", arguments.background.map(|_| arguments.poll))];
    for (keyword, seconds) in times.into_iter().chain([("timeout", arguments.task_timeout)]) {
        if let Some(seconds) = seconds {
            task[keyword] = seconds.into();
        }
    }
    let play = json!([{
        "name": "Ansible Ad-Hoc",
        "hosts": arguments.pattern,
        "gather_facts": false,
        "tasks": [task],
    }]);
    play.to_string()
}
