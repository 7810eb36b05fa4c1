//! Automatic answers of mail accounts (`mail_resp`), made on another host by the panel's own program, `plesk bin autoresponder`.
//!
//! Publicly known are the columns `mn_id`, `subject`, `text` and `resp_on`, and the options `-mail`, `-status`, `-subject`,
//! `-text`, `-format`. What a table has beyond them is looked at where it is there, and told where it cannot come over.

use crate::change::{Back, Change};
use crate::modules::ModuleError;
use crate::transport::Command;

use super::literal;
use super::panel::{Access, Account, Answer};
use super::plesk_program::Programs;
use super::schema::Server;

/// Returns the answer of an account that can come over, and why others of it cannot.
pub fn of<'a>(address: &str, account: &'a Account) -> (Option<&'a Answer>, Vec<String>) {
    let mut told = Vec::new();
    let mut taken = None;
    for answer in account.answers.iter().filter(|answer| answer.is_on) {
        let why = match &taken {
            _ if !answer.condition.is_empty() => format!("it is given only to `{}`", answer.condition),
            Some(_) => "an account has one here".into(),
            None => {
                taken = Some(answer);
                continue;
            }
        };
        told.push(format!(
            "an automatic answer of `{address}` (subject `{}`) does not come over: {why}\nhint: set it up by hand, or as a filter",
            answer.subject
        ));
    }
    (taken, told)
}

/// Returns what makes an account here answer so; nothing where it does.
pub fn change(
    (access, server): (&Access, &Server),
    programs: &Programs,
    address: &str,
    (here, after): (Option<&Answer>, &Answer),
) -> Result<Option<Change>, ModuleError> {
    let here = here.filter(|here| here.is_on);
    let lines = |answer: Option<&Answer>| match answer {
        Some(answer) => {
            format!("answer: on\nsubject: {}\ntext: {}", literal::text(&answer.subject), literal::text(&answer.text))
        }
        None => "answer: off\nsubject: -\ntext: -".into(),
    };
    let by = vec![call(programs, address, Some(after))];
    let back = Back::By(vec![call(programs, address, here)]);
    let names = ["answer", "subject", "text"].map(|part| format!("row {}.mail_resp {address} {part}", access.database));
    let texts = (lines(here), lines(Some(after)));
    let what = format!("automatic answer of {address}");
    let change = Change::state(what, probe((access, server), address)?, texts, by);
    Ok(change.map(|change| {
        let change = change.taken_back(back).in_parts(names.into());
        if access.login().has_secret() { change.with_secret_commands() } else { change }
    }))
}

fn call(programs: &Programs, address: &str, answer: Option<&Answer>) -> Command {
    let program = format!("{}/autoresponder", programs.directory);
    let mut words = vec![program, "--update".into(), "-mail".into(), address.into()];
    let mut set = |name: &str, value: &str| words.extend([format!("-{name}"), value.to_string()]);
    set("status", if answer.is_some() { "true" } else { "false" });
    if let Some(answer) = answer {
        set("subject", &answer.subject);
        set("text", &answer.text);
        set("format", if answer.is_html { "html" } else { "plain" });
    }
    Command::argv(words)
}

fn probe((access, server): (&Access, &Server), address: &str) -> Result<Command, ModuleError> {
    let database = &access.database;
    let table = server.table(database, "mail_resp")?;
    let (user, domain) = address.split_once('@').unwrap_or((address, ""));
    let place = |name: &str| format!("{}.{}", literal::name(database), literal::name(name));
    let showing = |name: &str| Ok::<_, ModuleError>(literal::showing(table.column(name)?, &server.charset));
    let sql = format!(
        "SET @id = (SELECT m.id FROM {} m JOIN {} d ON d.id = m.dom_id WHERE d.name = {} AND m.mail_name = {});\n\
         SELECT IFNULL((SELECT CONCAT('answer: on\\nsubject: ', {}, '\\ntext: ', {}) FROM {} WHERE mn_id = @id \
         AND resp_on = 'true' LIMIT 1), 'answer: off\\nsubject: -\\ntext: -');\n",
        place("mail"),
        place("domains"),
        literal::text(domain),
        literal::text(user),
        showing("subject")?,
        showing("text")?,
        place("mail_resp")
    );
    Ok(access.login().command(&sql, super::login::Format::Plain))
}
