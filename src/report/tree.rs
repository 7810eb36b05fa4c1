//! The last result of each host in a file of its own, as Ansible's callback `tree` writes it.

use std::fs;
use std::io::Result;
use std::path::PathBuf;

use serde_json::Value;

use super::{Recap, Reporter};
use crate::run::Event;

/// Writes `DIRECTORY/HOST` anew with each result.
pub struct Tree {
    directory: PathBuf,
    recap: Recap,
}

impl Tree {
    /// Makes the directory.
    pub fn new(directory: PathBuf) -> Result<Tree> {
        fs::create_dir_all(&directory)?;
        Ok(Tree { directory, recap: Recap::default() })
    }
}

impl Reporter for Tree {
    fn event(&mut self, event: &Event) -> Result<()> {
        self.recap.add(event);
        if let Event::Finished { subject, result, .. } = event
            && subject.item.is_none()
        {
            // A host's name is no way out of the directory.
            let name = subject.host.replace(['/', '\0'], "_");
            let name = if matches!(name.as_str(), "." | ".." | "") { "_".into() } else { name };
            fs::write(self.directory.join(name), serde_json::to_vec(&Value::Object(result.clone()))?)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Recap> {
        Ok(self.recap)
    }
}
