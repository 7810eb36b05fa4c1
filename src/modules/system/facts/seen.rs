//! What a host printed of itself: the one script that asks it everything, and its answers taken apart.

use std::collections::{BTreeMap, BTreeSet};

use super::Collector;

/// Starts a section of the output; no tool prints it (RS).
const MARK: char = '\u{1e}';

/// What a collector asks a host. Paths may be patterns of `sh`.
pub struct Asks {
    /// Files whose text it needs; all of them are read at once.
    pub files: &'static [&'static str],
    /// Symbolic links whose target it needs.
    pub links: &'static [&'static str],
    /// Paths that are there or not.
    pub there: &'static [&'static str],
    /// Lines of `sh` that start sections of their own with `mark NAME`. Programs that can hang are run by `$bound`.
    pub commands: &'static [&'static str],
}

impl Asks {
    pub const NOTHING: Asks = Asks { files: &[], links: &[], there: &[], commands: &[] };
}

/// Returns the script that prints what the collectors need.
pub fn script(collectors: &[&Collector]) -> String {
    // First and under our own name, for what a variable holds could look like a section.
    let environment = match collectors.iter().any(|collector| collector.name == "env") {
        true => "mark env; env\n",
        false => "",
    };
    let all = |of: fn(&Asks) -> &'static [&'static str]| {
        let mut once = BTreeSet::new();
        let words = collectors.iter().flat_map(|collector| of(&collector.asks).iter().copied());
        words.filter(|word| once.insert(*word)).collect::<Vec<&str>>()
    };
    let (files, links, there) = (all(|asks| asks.files), all(|asks| asks.links), all(|asks| asks.there));
    let mut script = format!(
        "exec 2>/dev/null\nmark() {{ printf '\\036%s\\n' \"$1\"; }}\n{environment}\
         export LC_ALL=C PATH=\"$PATH:/sbin:/usr/sbin:/usr/local/sbin\"\n\
         bound=; timeout 3 true && bound='timeout 3'\n"
    );
    // The empty one makes `grep` say which file each line is of, were it the only other.
    if !files.is_empty() {
        script += &format!("mark files; grep '' /dev/null {}\n", files.join(" "));
    }
    if !links.is_empty() {
        script += &format!("mark links; ls -ld {}\n", links.join(" "));
    }
    if !there.is_empty() {
        script +=
            &format!("mark there; for path in {}; do [ -e \"$path\" ] && echo \"$path\"; done\n", there.join(" "));
    }
    script + &all(|asks| asks.commands).join("\n") + "\n"
}

/// What a host printed.
pub struct Seen<'t> {
    files: BTreeMap<&'t str, String>,
    links: BTreeMap<&'t str, &'t str>,
    there: BTreeSet<&'t str>,
    sections: BTreeMap<&'t str, &'t str>,
}

impl<'t> Seen<'t> {
    /// Takes what [`script`] printed apart.
    pub fn new(output: &'t str) -> Seen<'t> {
        let sections = output.split(MARK).filter_map(|section| section.split_once('\n'));
        let sections: BTreeMap<&str, &str> = sections.collect();
        let section = |name: &str| sections.get(name).copied().unwrap_or("");
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        for line in section("files").lines() {
            let Some((path, text)) = line.split_once(':').filter(|(path, _)| path.starts_with('/')) else { continue };
            let file = files.entry(path).or_default();
            file.push_str(text);
            file.push('\n');
        }
        let links = section("links").lines().filter_map(|line| {
            let (left, target) = line.split_once(" -> ")?;
            Some((&left[left.find('/')?..], target))
        });
        let links = links.collect();
        let there = section("there").lines().collect();
        Seen { files, links, there, sections }
    }

    /// Returns a file's text without white space around it, or nothing where there is none or it cannot be read.
    pub fn file(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// Returns the files and their texts whose path begins and ends so, in order of their paths.
    pub fn files(&self, start: &str, end: &str) -> impl Iterator<Item = (&'t str, &str)> {
        let texts = self.files.iter().filter(move |(path, _)| path.starts_with(start) && path.ends_with(end));
        texts.map(|(path, text)| (*path, text.trim()))
    }

    /// Returns where a symbolic link leads, as it is written.
    pub fn link(&self, path: &str) -> Option<&'t str> {
        self.links.get(path).copied()
    }

    /// Returns the links in a directory: name and target.
    pub fn links(&self, directory: &str) -> impl Iterator<Item = (&'t str, &'t str)> {
        self.links.iter().filter_map(move |(path, target)| {
            let (above, name) = path.rsplit_once('/')?;
            (above == directory).then_some((name, *target))
        })
    }

    pub fn is_there(&self, path: &str) -> bool {
        self.there.contains(path)
    }

    /// Returns the paths that are there and begin so.
    pub fn there(&self, start: &str) -> impl Iterator<Item = &'t str> {
        self.there.iter().copied().filter(move |path| path.starts_with(start))
    }

    /// Returns what a command of [`Asks::commands`] printed.
    pub fn section(&self, name: &str) -> &'t str {
        self.sections.get(name).copied().unwrap_or("")
    }

    /// Tells whether a command was run at all.
    pub fn has(&self, name: &str) -> bool {
        self.sections.contains_key(name)
    }

    /// Returns a line of a section, without white space around it.
    pub fn line(&self, name: &str, number: usize) -> &'t str {
        self.section(name).lines().nth(number).unwrap_or("").trim()
    }
}

/// Returns the last part of a path.
pub fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_paths_are_told_apart() {
        let seen = Seen::new(
            "\u{1e}files\n/etc/a:x: y\n/etc/a:z\n/sys/b:\ngrep: /sys/c: binary file matches\n\
             \u{1e}links\nlrwxrwxrwx 1 root root 9 Nov 27 22:00 /dev/disk/by-id/a b -> ../../sda\n\
             drwxr-xr-x 2 root root 0 Nov 27 22:00 /sys/block/x\n\u{1e}there\n/etc/init.d/\n\u{1e}uptime\n 1 \n",
        );
        assert_eq!(seen.file("/etc/a"), Some("x: y\nz"));
        assert_eq!((seen.file("/sys/b"), seen.file("/sys/c")), (None, None));
        assert_eq!(seen.links("/dev/disk/by-id").collect::<Vec<_>>(), [("a b", "../../sda")]);
        assert_eq!(seen.link("/sys/block/x"), None);
        assert!(seen.is_there("/etc/init.d/") && !seen.is_there("/etc/init/"));
        assert_eq!(seen.line("uptime", 0), "1");
    }
}
