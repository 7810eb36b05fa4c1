//! `file` with `state: hard`: a path is another name of a file that is there.

use crate::change::Change;
use crate::host::View;
use crate::modules::{ModuleError, Outcome, Planned, Results};
use crate::transport::{Command, Node, Want};

use super::file::File;
use super::place::Place;

/// A further name for the file `src`. `None`: the path has further names already.
pub struct HardLink<'a> {
    pub file: &'a File,
    pub src: Option<&'a str>,
}

/// Prints what the first path is to the second (`test.1`: `-ef` says whether two names are one file).
const PROBE: &str = r#"if [ -h "$1" ]; then echo a link
elif [ ! -e "$1" ]; then echo absent
elif [ "$1" -ef "$2" ]; then echo "the same file as $2"
elif [ -d "$1" ]; then echo a directory
elif [ -n "$(find "$1" -prune -links +1)" ]; then echo another file with further names
else echo another file; fi"#;

/// Gives the file its new name beside the path first, so that the path is never absent.
const LINK: &str = r#"ln -- "$2" "$1.cutover.$$" && mv -f -- "$1.cutover.$$" "$1""#;

impl HardLink<'_> {
    pub async fn plan(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        let path = place.path.as_str();
        let Some(src) = self.src else { return self.kept(host, place).await };
        let failed = |message: String| {
            let fields = [("dest", path), ("src", src)];
            let result = Results::from_iter(fields.map(|(name, text)| (name.to_string(), text.into())));
            ModuleError::Failed { message, result }
        };
        let source = Place::look(host, src, self.file.links, Want::Attributes).await?;
        match &source.node {
            Node::Absent => return Err(failed("src does not exist".into())),
            Node::Directory { .. } => {
                return Err(failed(format!("Error while linking: `{src}` is a directory, which has one name only")));
            }
            _ => {}
        }
        let command = |script| Command::argv(["/bin/sh", "-c", script, "sh", path, source.path.as_str()]);
        let what = format!("hard link {path}");
        let before = host.state(&what, &command(PROBE)).await?;
        match before.as_str() {
            "a directory" => return Err(failed("Cannot link: different hard link exists at destination".into())),
            "another file with further names" if !self.file.force => {
                return Err(failed("Cannot link, different hard link exists at destination".into()));
            }
            "another file" if !self.file.force => {
                return Err(failed("Cannot link, file exists at destination".into()));
            }
            _ => {}
        }
        if place.node == Node::Absent {
            place.needs_parent()?;
        }
        let after = format!("the same file as {}", source.path);
        let change = Change::state(what, command(PROBE), (before, after), vec![command(LINK)]);
        // The name has all that the file has, and what is set of the one is set of the other.
        let named = Place { node: source.node.clone(), ..place.clone() };
        let kept = self.file.kept(host, &named.node).await?;
        let mut planned = self.file.timed(host, &named, kept).await?;
        planned.changes.splice(0..0, change);
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("dest".into(), path.into());
            results.insert("src".into(), src.into());
            results.insert("state".into(), "hard".into());
        }
        Ok(planned)
    }

    /// Without `src`: what is there has to have further names.
    async fn kept(&self, host: &View, place: Place) -> Result<Planned, ModuleError> {
        let probe = Command::argv(["find", place.path.as_str(), "-prune", "-type", "f", "-links", "+1"]);
        if !place.node.exists() || host.probe(&probe).await?.stdout.is_empty() {
            return Err(ModuleError::failed("src is required for creating new hardlinks"));
        }
        let after = self.file.kept(host, &place.node).await?;
        let mut planned = self.file.timed(host, &place, after).await?;
        if let Outcome::Known(results) = &mut planned.result {
            results.insert("state".into(), "hard".into());
        }
        Ok(planned)
    }
}
