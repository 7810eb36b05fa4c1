//! `mail_addresses`: the classes of a host's addresses, and one of each that a test message may go to. Reads only.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::host::View;
use crate::modules::{Argument, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Command, Links, Want};

use super::classes::{Address, Class, Files};
use super::text;

pub const ENTRY: Entry = Entry {
    name: "mail_addresses",
    summary: "Says what becomes of mail to each address of a qmail host, and chooses one of each class for a test message",
    arguments: &[ARGUMENTS],
    free_form: None,
    example: "- name: Whom a test message may go to\n  mail_addresses:\n    domains: example.com\n  register: classes\n",
    build: |arguments| Ok(Box::new(MailAddresses { given: arguments.read()? })),
};

const ARGUMENTS: &[Argument] = &[
    Argument::new("domains", Kind::List, "The domains to look at, which are in `virtualdomains`.").required(),
    Argument::new("directory", Kind::Path, "The installation's directory. The default is `/var/qmail`."),
    Argument::new("mailnames", Kind::Path, "Where the mailboxes lie. The default is `mailnames` in `directory`."),
];

#[derive(Deserialize)]
struct Given {
    domains: Vec<String>,
    directory: Option<String>,
    mailnames: Option<String>,
}

struct MailAddresses {
    given: Given,
}

/// Prints `f<tab>PATH` for each `.qmail` file and `maildirsize` of the domains on stdin, and `l<tab>LINE` for each line of it.
const LOOK: &str = r#"cd -- "$1" || exit 0
while IFS= read -r domain; do
  [ -n "$domain" ] && [ -d "$domain" ] || continue
  find "$domain" -maxdepth 3 \( -name '.qmail*' -o -name maildirsize \) -type f -size 0 | sed 's/^/f	/'
  find "$domain" -maxdepth 3 \( -name '.qmail*' -o -name maildirsize \) -type f ! -size 0 -size -40 -exec \
    awk 'FNR == 1 { print "f\t" FILENAME } { print "l\t" $0 }' {} +
done"#;

#[async_trait]
impl Module for MailAddresses {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        if host.plans_ahead() {
            return Err(ModuleError::Unknown("the changes before it, which may be of its accounts".into()));
        }
        let given = &self.given;
        let directory = given.directory.as_deref().unwrap_or("/var/qmail").trim_end_matches('/');
        let mailnames = given.mailnames.clone().unwrap_or_else(|| format!("{directory}/mailnames"));
        let mailnames = mailnames.trim_end_matches('/');
        let paths =
            ["control/virtualdomains", "users/assign"].map(|name| (format!("{directory}/{name}"), Links::Follow));
        let mut look = Command::argv(["/bin/sh", "-c", LOOK, "sh", mailnames]);
        look.environment.push(("LC_ALL".into(), "C".into()));
        let domains: Vec<String> = given.domains.iter().map(|name| name.trim().to_lowercase()).collect();
        look.stdin = domains.iter().map(|name| format!("{name}\n")).collect::<String>().into();
        let (nodes, printed) = tokio::try_join!(host.look_all(&paths, Want::Content), host.probe(&look))?;
        let texts: Vec<String> =
            nodes.iter().zip(&paths).map(|(node, (path, _))| text::read(path, node)).collect::<Result<_, _>>()?;
        let mut files = Files::new(texts[0].clone(), &texts[1]);
        let mut open = String::new();
        for line in printed.text().lines() {
            match line.split_once('\t') {
                Some(("f", path)) => {
                    open = format!("{mailnames}/{path}");
                    files.texts.entry(open.clone()).or_default();
                }
                Some(("l", line)) => {
                    let text = files.texts.entry(open.clone()).or_default();
                    text.push_str(line);
                    text.push('\n');
                }
                _ => {}
            }
        }
        Ok(Planned::new(Vec::new(), told(&files, &domains)))
    }
}

fn told(files: &Files, domains: &[String]) -> Results {
    let (mut addresses, mut chosen, mut not_tried) = (Results::new(), Vec::new(), Vec::new());
    let mut when_full: BTreeMap<&str, usize> = BTreeMap::new();
    for domain in domains {
        let found = files.addresses(domain);
        let mut classes: BTreeMap<Class, &Address> = BTreeMap::new();
        for address in &found {
            let ways = &address.ways;
            addresses.insert(
                address.address.clone(),
                json!({"class": address.class.name(), "maildirs": ways.maildirs, "outside": ways.outside}),
            );
            if address.is_not_tried().is_none() {
                classes.entry(address.class).or_insert(address);
            }
            if address.class == Class::Mailbox {
                let homes = ways.maildirs.iter().filter_map(|path| path.strip_suffix("/Maildir"));
                homes.for_each(|home| *when_full.entry(files.when_full(home)).or_default() += 1);
            }
        }
        let picked = classes.values().map(|address| {
            json!({"address": address.address, "class": address.class.name(), "maildirs": address.ways.maildirs})
        });
        chosen.extend(picked);
        // A class that is not tried at all is told.
        let mut left: BTreeMap<Class, &Address> = BTreeMap::new();
        for address in found.iter().filter(|found| !classes.contains_key(&found.class)) {
            left.entry(address.class).or_insert(address);
        }
        not_tried.extend(left.values().map(|address| {
            let why = address.is_not_tried().unwrap_or_default();
            format!("{} `{}`: {why}", address.class.name(), address.address)
        }));
    }
    [
        ("addresses", Value::Object(addresses)),
        ("chosen", chosen.into()),
        ("not_tried", not_tried.into()),
        ("full", json!(files.full())),
        ("when_full", json!(when_full)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_string(), value))
    .collect()
}
