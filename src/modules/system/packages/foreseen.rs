//! A copy of apt's state as it would be by then, for a simulation: it lies in a directory that goes.

use crate::transport::command::quote;

use super::database::{Database, State};
use crate::modules::system::SCRATCH;

/// Which lists of packages a simulation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists {
    There,
    /// As an update would bring them; those that are there spare it the unchanged ones.
    New,
}

const NEW_LISTS: &str = r#"cp -Rp /var/lib/apt/lists "$new/lists" 2>/dev/null
rm -rf "$new/lists/partial" "$new/lists/lock"
mkdir -p "$new/lists" "$new/cache"
foreseen="-o Dir::State::Lists=$new/lists -o Dir::Cache=$new/cache"
apt-get -q $foreseen -o APT::Update::Error-Mode=any update >/dev/null || exit
"#;

/// Defines `others FILE`, which prints the stanzas of packages that are not in `$names`.
const OTHERS: &str = r#"others() {
  awk -v names="$names" -v own="$own" '
    BEGIN { RS = ""; FS = "\n"; ORS = "\n\n"; count = split(names, all, " "); for (i = 1; i <= count; i++) planned[all[i]] = 1 }
    { name = ""; architecture = own
      for (i = 1; i <= NF; i++) {
        if ($i ~ /^Package: /) name = substr($i, 10)
        if ($i ~ /^Architecture: /) architecture = substr($i, 15)
      }
      if (architecture != own && architecture != "all") name = name ":" architecture
      if (!(name in planned)) print }' "$1"
}
"#;

/// Returns the lines that set `$foreseen` to the options of apt which make it see what is planned.
pub fn script(database: &Database, lists: Lists) -> String {
    let mut script =
        "export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=\"$PATH:/sbin:/usr/sbin\"\nforeseen=\n".to_string();
    if lists == Lists::There && database.planned.is_empty() {
        return script;
    }
    script += SCRATCH;
    script += "chmod 755 \"$new\"\n";
    if lists == Lists::New {
        script += NEW_LISTS;
    }
    if !database.planned.is_empty() {
        let names: Vec<&str> = database.planned.keys().map(String::as_str).collect();
        let own = &database.architecture;
        script += &format!("names={} own={}\n{OTHERS}", quote(&names.join(" ")), quote(own));
        script += "others /var/lib/dpkg/status >\"$new/status\" || exit\n\
                   others /var/lib/apt/extended_states >\"$new/extended\" 2>/dev/null\n";
        script.extend(database.planned.iter().map(|(name, state)| stanza(name, state, own)));
        script +=
            "foreseen=\"$foreseen -o Dir::State::status=$new/status -o Dir::State::extended_states=$new/extended\"\n";
    }
    script
}

/// Returns the lines that add a planned package.
fn stanza(name: &str, state: &State, own: &str) -> String {
    let (bare, architecture) = name.split_once(':').unwrap_or((name, own));
    match state {
        // No change leaves a package halfway.
        State::Absent | State::Half { .. } => String::new(),
        State::Configuration(version) => format!(
            "printf 'Package: %s\\nStatus: deinstall ok config-files\\nArchitecture: %s\\nVersion: %s\\n\\n' {} {} {} >>\"$new/status\"\n",
            quote(bare),
            quote(architecture),
            quote(version)
        ),
        State::Installed { version, automatic } => format!(
            "{{ apt-cache $foreseen show --no-all-versions {} | sed '/^Status: /d; /^Filename: /d; 1s/^/Status: install ok installed\\n/'; echo; }} \
             >>\"$new/status\"\n\
             printf 'Package: %s\\nArchitecture: %s\\nAuto-Installed: %s\\n\\n' {} {} {} >>\"$new/extended\"\n",
            quote(&format!("{name}={version}")),
            quote(bare),
            quote(architecture),
            u8::from(*automatic)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_only_where_something_is_foreseen() {
        let mut database = Database { architecture: "amd64".into(), ..Database::default() };
        assert!(!script(&database, Lists::There).contains("mktemp"));
        assert!(script(&database, Lists::New).contains("update"));
        for (name, text) in [("one", "1.0, automatic"), ("two:i386", "2.0"), ("three", "configuration of 3")] {
            database.planned.insert(name.into(), State::read(text));
        }
        let script = script(&database, Lists::There);
        assert!(script.contains("names='one three two:i386' own=amd64\n"), "{script}");
        assert!(script.contains("Auto-Installed: %s\\n\\n' one amd64 1 "), "{script}");
        assert!(script.contains("' two i386 0 ") && script.contains("' three amd64 3 "), "{script}");
        assert!(!script.contains(" update"));
    }
}
