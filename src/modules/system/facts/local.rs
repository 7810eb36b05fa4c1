//! `ansible_local`: what a host's own fact files say, those that are programs asked.

use serde_json::{Map, Value};

use super::{Asks, Collector};
use crate::ini::{Ini, Rules};
use crate::transport::command::quote;

/// Where its files are is known to the task alone, so that the script is [`script`].
pub const LOCAL: Collector = Collector { name: "local", ids: &[], needs: &[], asks: Asks::NOTHING, read: |_, _| {} };

/// Where fact files are unless a task says otherwise.
pub const DIRECTORY: &str = "/etc/ansible/facts.d";

/// Starts a file's part of the output; no tool prints it (GS).
const MARK: char = '\u{1d}';

/// Returns the script that prints the fact files of a directory, and what those that are programs print.
pub fn script(directory: &str) -> String {
    format!(
        "for f in {}/*.fact; do
  [ -e \"$f\" ] || [ -h \"$f\" ] || continue
  if [ ! -e \"$f\" ]; then kind=dead; out=
  elif [ -f \"$f\" ] && [ -x \"$f\" ]; then out=$(\"$f\" </dev/null 2>/dev/null); status=$?; kind=\"ran $status\"
  elif out=$(cat \"$f\" 2>/dev/null); then kind=text
  else kind=closed; fi
  printf '\\035%s\\n%s\\n%s' \"$f\" \"$kind\" \"$out\"
done
",
        quote(directory)
    )
}

/// Reads what the script printed: each file's facts by its name, or what is wrong with it as text.
pub fn read(output: &str) -> Map<String, Value> {
    let mut facts = Map::new();
    for part in output.split(MARK).skip(1) {
        let mut lines = part.splitn(3, '\n');
        let [path, kind, text] = [(); 3].map(|()| lines.next().unwrap_or(""));
        let name = path.rsplit('/').next().unwrap_or("").trim_end_matches(".fact");
        let fact = match kind {
            "text" | "ran 0" => values(text, path),
            "dead" => format!("Could not stat fact ({path}): no such file").into(),
            "closed" => format!("error loading facts: {path} cannot be read").into(),
            ran => {
                let status = ran.trim_start_matches("ran ");
                format!("Failure executing fact script ({path}), rc: {status}, output: {}", text.trim_end()).into()
            }
        };
        facts.insert(name.to_string(), fact);
    }
    facts
}

/// Reads JSON, or sections of `name=value`.
fn values(text: &str, path: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    let Ok(ini) = Ini::read(text, None, Rules { interpolation: true, ..Rules::default() }) else {
        return format!("error loading facts as JSON or ini - please check content: {path}").into();
    };
    let mut all = Map::new();
    for section in ini.sections() {
        let mut values = Map::new();
        for name in ini.keys(section) {
            match ini.get(section, name) {
                Ok(value) => values.insert(name.into(), value.flatten().unwrap_or_default().into()),
                Err(why) => {
                    return format!("error loading facts as ini - please check content: {path} ({name}: {why})").into();
                }
            };
        }
        all.insert(section.into(), Value::Object(values));
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::system::bench::Here;
    use crate::transport::Command;

    #[tokio::test]
    async fn each_file_is_json_or_ini_or_says_what_is_wrong() {
        let here = Here::new().await;
        let file = |name: &str, text: &str, mode: u32| here.write(name, text, mode);
        file("routes.fact", "{\"old\": [\"a\"]}", 0o644);
        file("prefs.fact", "# how\n[General]\nBar = loaded\nlong: one\n  two\n[empty]\n", 0o644);
        file("ran.fact", "#!/bin/sh\necho warning >&2\necho '{\"ran\": true}'\n", 0o755);
        file("failed.fact", "#!/bin/sh\necho no; exit 3\n", 0o755);
        file("bad.fact", "no section=1\n", 0o644);
        file("part.fact", "[a]\nx = 5%% of %(y)s\ny: 1\n[b]\n", 0o644);
        file("lone.fact", "[a]\nx = 5% of 1\n", 0o644);
        file("other.txt", "{}", 0o644);
        std::os::unix::fs::symlink("/nowhere", here.path("dead.fact")).unwrap();
        let command = Command::shell(script(&here.directory.path().display().to_string()));
        let facts = read(&here.transport.probe(&command).await.unwrap().text());
        assert_eq!(facts["routes"], json!({"old": ["a"]}));
        assert_eq!(facts["prefs"], json!({"General": {"bar": "loaded", "long": "one\ntwo"}, "empty": {}}));
        assert_eq!(facts["part"], json!({"a": {"x": "5% of 1", "y": "1"}, "b": {}}));
        assert_eq!(facts["ran"], json!({"ran": true}));
        for (name, says) in [
            ("failed", "Failure executing fact script"),
            ("bad", "error loading facts as JSON or ini"),
            ("dead", "Could not stat fact"),
            ("lone", "error loading facts as ini"),
        ] {
            assert!(facts[name].as_str().unwrap().starts_with(says), "{}", facts[name]);
        }
        assert_eq!(facts.len(), 8);
        assert!(read("").is_empty());
    }
}
