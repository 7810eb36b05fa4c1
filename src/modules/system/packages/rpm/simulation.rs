//! What dnf or yum say that they would do with `--assumeno`, and why they would not.

use crate::transport::Output;

/// One package of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    pub architecture: String,
    pub version: String,
    pub does: Does,
    /// It is asked for, and does not come or go along.
    pub is_asked: bool,
    /// Where it comes from; a file has `@commandline`.
    pub from: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Beside another version, if that stays.
    Install,
    Upgrade,
    Downgrade,
    Reinstall,
    Remove,
}

/// How headings of the table begin. Those of what is skipped are not here.
const HEADINGS: [(&str, Does); 9] = [
    ("Installing", Does::Install),
    ("Upgrading", Does::Upgrade),
    ("Updating", Does::Upgrade),
    ("Downgrading", Does::Downgrade),
    ("Reinstalling", Does::Reinstall),
    ("Removing", Does::Remove),
    ("Erasing", Does::Remove),
    ("Installed", Does::Install),
    ("Removed", Does::Remove),
];

/// Says that the tool has nothing more to say than that it was told to go no further.
fn is_only_asked(output: &Output) -> bool {
    let said = output.text() + &output.error_text();
    ["Operation aborted", "Exiting on user command", "Is this ok", "Nothing to do"].iter().any(|end| said.contains(end))
}

/// Reads the table. An error is what the tool says of itself.
pub fn read(output: &Output) -> Result<Vec<Step>, String> {
    let steps = steps(&output.text());
    match steps.is_empty() && !output.success() && !is_only_asked(output) {
        true => Err(refusal(output)),
        false => Ok(steps),
    }
}

fn steps(text: &str) -> Vec<Step> {
    let (mut steps, mut words): (Vec<Step>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut under: Option<(Does, bool)> = None;
    for line in text.lines() {
        let line = line.trim_end();
        if line.starts_with("Transaction Summary") || line.starts_with("Transaction:") {
            break;
        }
        if !line.starts_with(' ') {
            // A heading: what is asked for has nothing behind its verb.
            let heading = line.strip_suffix(':').unwrap_or_default();
            let found = HEADINGS.iter().find(|(verb, _)| heading.split(' ').next() == Some(verb));
            let along = ["dependenc", "dependent", "unused"].iter().any(|piece| heading.contains(piece));
            under = found.map(|(_, does)| (*does, !along));
            words.clear();
            continue;
        }
        let Some((does, is_asked)) = under else { continue };
        // What a package takes the place of: with `name.arch version`, or in columns of its own.
        if let Some(rest) = line.trim_start().strip_prefix("replacing ") {
            words.clear();
            let mut rest = rest.split_whitespace();
            let (Some(name), Some(second)) = (rest.next(), rest.next()) else { continue };
            let (name, architecture, version) = match (rest.next(), name.rsplit_once('.')) {
                (None, Some((name, architecture))) => (name, architecture, second),
                (Some(third), _) => (name, second, third),
                (None, None) => continue,
            };
            let replaced = steps.iter().any(|step| step.name == name && step.architecture == architecture);
            if !replaced {
                steps.push(step((name, architecture, version), (Does::Remove, false), ""));
            }
            continue;
        }
        // Long names are on a line of their own.
        words.extend(line.split_whitespace());
        if let [name, architecture, version, from, _, ..] = words[..] {
            steps.push(step((name, architecture, version), (does, is_asked), from));
            words.clear();
        } else if words.len() == 1 && words[0].parse::<u32>().is_ok() {
            words.clear();
        }
    }
    steps
}

fn step((name, architecture, version): (&str, &str, &str), (does, is_asked): (Does, bool), from: &str) -> Step {
    // yum and dnf5 say an epoch of none, too.
    let version = version.strip_prefix("0:").unwrap_or(version);
    let (name, architecture, version, from) = (name.into(), architecture.into(), version.into(), from.into());
    Step { name, architecture, version, does, is_asked, from }
}

/// Pieces of errors, and what to do about them.
const HINTS: [(&str, &str); 6] = [
    ("conflict", "`allowerasing: true` removes what is in the way; `skip_broken: true` leaves out what does not fit"),
    (
        "--allowerasing",
        "`allowerasing: true` removes what is in the way; `skip_broken: true` leaves out what does not fit",
    ),
    ("GPG", "import the key with `rpm --import`, or `disable_gpg_check: true`"),
    ("protected packages", "it is never removed"),
    ("superuser", "`become: true`"),
    ("No match for argument", "`dnf list --showduplicates NAME` on the host lists what its repositories have"),
];

fn refusal(output: &Output) -> String {
    let (text, errors) = (output.text(), output.error_text());
    let missing = errors.lines().chain(text.lines()).find_map(|line| {
        let line = line.trim_start_matches("Error: ");
        line.strip_prefix("Unable to find a match: ").or_else(|| line.strip_prefix("No match for argument: "))
    });
    let said: Vec<&str> = errors
        .lines()
        .filter(|line| !line.starts_with("Unable to detect release version") && !line.trim().is_empty())
        .collect();
    let said = said.join("\n");
    let message = match missing {
        Some(names) => {
            let first = names.split(' ').next().unwrap_or(names);
            format!("Failed to install some of the specified packages\nNo package {first} available.\n{said}")
        }
        None => format!("Depsolve Error occurred: {said}"),
    };
    let hint = HINTS.iter().find(|(piece, _)| said.contains(piece)).map(|(_, hint)| format!("\nhint: {hint}"));
    message + &hint.unwrap_or_default()
}

/// Says whether the tool misses something that its repositories may have by then.
pub fn is_unknown(refusal: &str) -> bool {
    ["No package ", "No match for", "Unable to find a match", "no enabled repos", "Failed to download metadata"]
        .iter()
        .any(|piece| refusal.contains(piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let line = |step: &Step| {
            let asked = if step.is_asked { "" } else { " along" };
            format!("{:?} {}.{} {}{asked}", step.does, step.name, step.architecture, step.version)
        };
        steps(text).iter().map(line).collect()
    }

    #[test]
    fn the_table_of_dnf_4_is_read_with_what_comes_along() {
        // dnf 4.14.0 of Debian 12.
        let text = "Dependencies resolved.\n=====\n Package    Architecture  Version  Repository  Size\n=====\n\
            Installing:\n successor  noarch  1.0-1  lab  6.1 k\n     replacing  xinetd.noarch 2.3.15-1\n\
            Upgrading:\n server  noarch  2.0-1  lab  6.0 k\nInstalling dependencies:\n library  noarch  1:1.5-1  lab  6.0 k\n\
            Removing dependent packages:\n rival  noarch  1.0-1  @lab  4\n\
            Skipping packages with conflicts:\n(add '--best --allowerasing' to command line to force their upgrade):\n other  noarch  1.0-1  lab  6.0 k\n\n\
            Transaction Summary\n=====\nInstall  2 Packages\n";
        let expected = [
            "Install successor.noarch 1.0-1",
            "Remove xinetd.noarch 2.3.15-1 along",
            "Upgrade server.noarch 2.0-1",
            "Install library.noarch 1:1.5-1 along",
            "Remove rival.noarch 1.0-1 along",
        ];
        assert_eq!(told(text), expected);
    }

    #[test]
    fn long_names_and_the_tables_of_yum_and_dnf_5_are_read() {
        // yum 3.4 of CentOS 7.
        let yum = "Dependencies Resolved\n\n====\n Package   Arch   Version   Repository   Size\n====\nInstalling:\n\
            \u{20}a-very-long-name-of-a-package\n                x86_64  0:1.0-1.el7  base  25 k\n\
            Updating for dependencies:\n openssl-libs  x86_64  1:1.0.2k-26.el7_9  updates  1.2 M\n\nTransaction Summary\n";
        assert_eq!(
            told(yum),
            ["Install a-very-long-name-of-a-package.x86_64 1.0-1.el7", "Upgrade openssl-libs.x86_64 1:1.0.2k-26.el7_9"]
                .map(|line| if line.starts_with("Upgrade") { format!("{line} along") } else { line.to_string() })
        );
        // dnf5 5.2 of Fedora 41.
        let dnf5 = "Package    Arch   Version        Repository      Size\nUpgrading:\n bash       x86_64 5.2.32-1.fc41  updates      8.2 MiB\n\
            \u{20}  replacing bash   x86_64 5.2.26-4.fc41  anaconda     8.2 MiB\nRemoving:\n nano       x86_64 0:8.1-1.fc41    anaconda     2.7 MiB\n\n\
            Transaction Summary:\n Upgrading: 1 package\n";
        assert_eq!(told(dnf5), ["Upgrade bash.x86_64 5.2.32-1.fc41", "Remove nano.x86_64 8.1-1.fc41"]);
    }

    #[test]
    fn why_nothing_would_be_done_is_said_with_what_to_do() {
        let output = |status, stdout: &str, stderr: &str| Output {
            status,
            stdout: stdout.into(),
            stderr: stderr.into(),
            ..Output::default()
        };
        let missing =
            read(&output(1, "No match for argument: nope\n", "Error: Unable to find a match: nope\n")).unwrap_err();
        assert!(missing.contains("No package nope available.") && is_unknown(&missing), "{missing}");
        let conflict = read(&output(1, "", "Error: \n Problem: a conflicts with b\n")).unwrap_err();
        assert!(conflict.contains("Depsolve Error occurred") && conflict.contains("hint: `allowerasing"), "{conflict}");
        assert_eq!(read(&output(1, "Nothing to do.\n", "")), Ok(Vec::new()));
        assert_eq!(read(&output(0, "", "")), Ok(Vec::new()));
    }
}
