//! Where packages of Python are: the host's own, those of a program, or an environment, which may have to be made first.

use std::collections::BTreeMap;

use crate::transport::Command;
use crate::transport::command::quote;

use super::requirement::normalized;
use crate::modules::system::SCRATCH;

/// Lines of `sh` for pip: what goes before, where it runs, and how it is found.
pub struct Place {
    /// The directory of an environment.
    pub env: Option<String>,
    /// It has to be made first.
    pub is_new: bool,
    /// The words that make it, its directory left out.
    pub making: Vec<String>,
    /// Where the commands run.
    pub directory: String,
    /// The pip that was named.
    pub executable: Option<String>,
    pub umask: Option<String>,
    pub break_system_packages: bool,
}

/// What a package has for a version that is not there.
pub const NONE: &str = "none";

/// What a probe has found.
#[derive(Debug, Default)]
pub struct Found {
    /// The words that pip is run with.
    pub pip: Vec<String>,
    /// The versions of what is there, by name as names are compared.
    pub packages: BTreeMap<String, String>,
    /// The same as pip freezes it, with where from.
    pub frozen: String,
    /// The Python of an environment that would be made.
    pub python: String,
    /// What pip printed that was asked what it would do.
    pub said: String,
    /// It could tell that: pips before 22.2 cannot.
    pub can_tell: bool,
}

/// Nothing is asked, nothing is kept, and nothing is looked for that was not asked for.
const QUIETLY: &str = "export LC_ALL=C PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1\n\
                       mark() { printf '\\036%s\\n' \"$1\"; }\n";

impl Place {
    /// Names what is there.
    pub fn called(&self, target: Option<&str>) -> String {
        match target.or(self.env.as_deref()).or(self.executable.as_deref()) {
            Some(place) => format!("Python packages of {place}"),
            None => "Python packages".into(),
        }
    }

    /// Returns what comes before any command.
    fn start(&self) -> String {
        let umask = self.umask.as_ref().map(|umask| format!("umask {umask}\n"));
        let allowed = self.break_system_packages.then_some("export PIP_BREAK_SYSTEM_PACKAGES=1\n");
        let path = self.env.as_ref().map(|env| format!("export PATH={}:\"$PATH\"\n", quote(&format!("{env}/bin"))));
        format!("{}{}{}", umask.unwrap_or_default(), allowed.unwrap_or_default(), path.unwrap_or_default())
    }

    /// Returns a run of pip that changes something.
    pub fn run(&self, words: &[String]) -> Command {
        Command::shell(format!("{}cd {} || exit\n{}", self.start(), quote(&self.directory), quoted(words)))
    }

    /// Returns the lines that make the environment at `$env`.
    fn made(&self) -> String {
        let program = self.making.first().map_or("", String::as_str);
        let missing = quote(&format!("Failed to find required executable \"{program}\""));
        format!(
            "command -v {} >/dev/null || {{ echo {missing} >&2; exit 127; }}\n{} \"$env\"",
            quote(program),
            quoted(&self.making)
        )
    }

    /// Returns the command that makes the environment.
    pub fn make(&self) -> Command {
        let env = self.env.as_deref().unwrap_or_default();
        let umask = self.umask.as_ref().map_or_else(String::new, |umask| format!("umask {umask}\n"));
        let directory = quote(&self.directory);
        Command::shell(format!("{umask}env={}\ncd {directory} || exit\n{}", quote(env), self.made()))
    }

    /// Returns a probe that tells of pip and of what is there; with `words` also what pip would do. What is not made
    /// yet is made in a directory that goes.
    pub fn look(&self, listed: &[String], words: Option<&[String]>) -> Command {
        let mut script = format!("{QUIETLY}{}", self.start());
        if self.is_new {
            script += &format!(
                "{SCRATCH}env=$new/env\n(\ncd {} || exit\n{}\n) >&2 || exit\n",
                quote(&self.directory),
                self.made()
            );
            script += "mark python\n\"$env/bin/python\" --version 2>&1\n";
        } else {
            script += &format!("env={}\n", quote(self.env.as_deref().unwrap_or_default()));
        }
        script += &format!("cd {} || exit\n{}", quote(&self.directory), self.finding());
        script += &format!(
            "mark list\n\"$@\" list --format=freeze {listed} 2>/dev/null || \"$@\" freeze || exit\nmark frozen\n\"$@\" freeze 2>/dev/null\n",
            listed = quoted(listed)
        );
        if let Some(words) = words {
            script += &format!("mark said\nPIP_NO_CACHE_DIR=1 \"$@\" {} || exit\n", quoted(words));
        }
        Command::shell(script)
    }

    /// Returns the lines that set `$@` to pip, and print how it is run.
    fn finding(&self) -> String {
        match (&self.env, &self.executable) {
            (Some(env), _) => {
                let missing = format!(
                    "Unable to find pip in the virtualenv, {env}, under any of these names: pip3, pip. Make sure pip is present in the virtualenv."
                );
                let run = if self.is_new { "\"$env/bin/python\" -m pip" } else { "\"$env/bin/$name\"" };
                format!(
                    "for name in pip3 pip ''; do [ ! -x \"$env/bin/$name\" ] || break; done\n\
                     [ -n \"$name\" ] || {{ echo {} >&2; exit 1; }}\nset -- {run}\nmark pip\necho {}/bin/\"$name\"\n",
                    quote(&missing),
                    quote(env)
                )
            }
            (None, Some(executable)) => format!(
                "pip=$(command -v {}) || {{ echo {} >&2; exit 1; }}\nset -- \"$pip\"\nmark pip\necho \"$pip\"\n",
                quote(executable),
                quote(&missing(executable))
            ),
            (None, None) => format!(
                "if command -v python3 >/dev/null && python3 -c 'import pip' 2>/dev/null; then set -- \"$(command -v python3)\" -m pip\n\
                 elif command -v pip3 >/dev/null; then set -- \"$(command -v pip3)\"\n\
                 else echo {} >&2; exit 1; fi\nmark pip\nprintf '%s\\n' \"$@\"\n",
                quote(&missing("pip3"))
            ),
        }
    }

    /// Returns the probe that prints the versions of these packages, a line each; before them that of an environment's
    /// Python, where that has to be made.
    pub fn versions(&self, pip: &[String], listed: &[String], names: &[&str]) -> Command {
        let environment = self.env.as_ref().filter(|_| self.is_new).map_or_else(String::new, |env| {
            format!(
                "env={}\nif [ -e \"$env/bin/activate\" ]; then python=$(\"$env/bin/python\" --version 2>&1); else python={NONE}; fi\n\
                 echo \"environment: $python\"\n",
                quote(env)
            )
        });
        let packages = format!(
            "there=$({{ {pip} list --format=freeze {} || {pip} freeze; }} 2>/dev/null | {NORMALIZED})\n\
             for name in {}; do version=$(echo \"$there\" | sed -n \"s/^$name //p\"); echo \"$name: ${{version:-{NONE}}}\"; done",
            quoted(listed),
            names.join(" "),
            pip = quoted(pip),
        );
        Command::shell(format!(
            "export LC_ALL=C PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1\n{environment}cd {} || exit\n{}",
            quote(&self.directory),
            if names.is_empty() { "" } else { &packages }
        ))
    }
}

/// Reads lines of `name==version`, with the names as PEP 503 compares them.
const NORMALIZED: &str =
    r"sed -n 'h; s/==.*//; y/ABCDEFGHIJKLMNOPQRSTUVWXYZ_./abcdefghijklmnopqrstuvwxyz--/; s/--*/-/g; G; s/\n.*==/ /p'";

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn missing(name: &str) -> String {
    format!("Unable to find any of {name} to use.  pip needs to be installed.")
}

impl Found {
    pub fn read(text: &str) -> Found {
        let sections = text.split('\u{1e}').filter_map(|section| section.split_once('\n'));
        let sections: BTreeMap<&str, &str> = sections.collect();
        let section = |name: &str| sections.get(name).copied().unwrap_or("");
        let packages = section("list").lines().filter_map(|line| line.split_once("=="));
        Found {
            pip: section("pip").lines().map(str::to_string).collect(),
            packages: packages.map(|(name, version)| (normalized(name), version.trim().to_string())).collect(),
            frozen: section("frozen").into(),
            python: section("python").trim().into(),
            said: section("said").into(),
            can_tell: sections.contains_key("said"),
        }
    }

    /// Reads which packages pip would install, in which versions.
    pub fn would_install(&self) -> Vec<(String, String)> {
        let words = self.said.lines().filter_map(|line| line.strip_prefix("Would install "));
        let words = words.flat_map(str::split_whitespace).filter_map(|word| word.rsplit_once('-'));
        words.map(|(name, version)| (normalized(name), version.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pip_prints_is_read() {
        // pip 23.0.1.
        let text = "\u{1e}python\nPython 3.11.2\n\u{1e}pip\n/usr/bin/python3\n-m\npip\n\u{1e}list\nMy.Lib==1.0\nsix==1.16.0\n\u{1e}frozen\nsix==1.16.0\n\
                    \u{1e}said\nLooking in links: /srv/wheels\nRequirement already satisfied: six\nWould install other_lib-2.0.post1 tiny-lib-1.1\n";
        let found = Found::read(text);
        assert_eq!(found.pip, ["/usr/bin/python3", "-m", "pip"]);
        assert_eq!(found.packages["my-lib"], "1.0");
        let pair = |name: &str, version: &str| (name.to_string(), version.to_string());
        assert_eq!(found.would_install(), [pair("other-lib", "2.0.post1"), pair("tiny-lib", "1.1")]);
    }
}
