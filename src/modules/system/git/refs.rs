//! What a repository offers, as `git ls-remote --symref` prints it, and what a version means in it.

use std::collections::HashMap;

/// The commit that is to be checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The branch that it is the end of. `None`: a tag or a commit, with no branch.
    pub branch: Option<String>,
    pub commit: String,
    /// The annotated tag that stands for it, if the version names one.
    pub tag: Option<String>,
}

impl Target {
    /// Returns the object that has the signature.
    pub fn signed(&self) -> &str {
        self.tag.as_deref().unwrap_or(&self.commit)
    }
}

/// The names of a repository with their commits.
pub struct Refs {
    /// What `HEAD` stands for, if it is a branch.
    head: Option<String>,
    commits: HashMap<String, String>,
}

impl Refs {
    pub fn read(text: &str) -> Refs {
        let (mut head, mut commits) = (None, HashMap::new());
        for (commit, name) in text.lines().filter_map(|line| line.split_once('\t')) {
            match commit.strip_prefix("ref: refs/heads/") {
                Some(branch) if name == "HEAD" => head = Some(branch.to_string()),
                Some(_) => {}
                None => drop(commits.insert(name.to_string(), commit.to_string())),
            }
        }
        Refs { head, commits }
    }

    /// Returns what a version means: `HEAD`, a branch, a tag, a whole hash, or the whole name of a reference.
    pub fn target(&self, version: &str) -> Option<Target> {
        let found = |name: &str| self.commits.get(name).cloned();
        let branch = |name: &str| {
            let commit = found(&format!("refs/heads/{name}"))?;
            Some(Target { branch: Some(name.into()), commit, tag: None })
        };
        let loose = |commit: String| Target { branch: None, commit, tag: None };
        if version == "HEAD" {
            return self.head.as_deref().and_then(branch).or_else(|| found("HEAD").map(loose));
        }
        let named = |name: &str| match (found(&format!("{name}^{{}}")), found(name)) {
            (Some(commit), tag) => Some(Target { branch: None, commit, tag }),
            (None, commit) => commit.map(loose),
        };
        branch(version)
            .or_else(|| named(&format!("refs/tags/{version}")))
            .or_else(|| named(version))
            .or_else(|| is_hash(version).then(|| loose(version.to_lowercase())))
    }
}

/// Says whether a text is a whole SHA-1 or SHA-256.
fn is_hash(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_branch_before_it_is_a_tag_and_a_tag_is_what_it_points_to() {
        let refs = Refs::read(
            "ref: refs/heads/main\tHEAD\na1\tHEAD\na1\trefs/heads/main\nb2\trefs/heads/both\nc3\trefs/tags/both\n\
             d4\trefs/tags/v1\ne5\trefs/tags/v1^{}\nf6\trefs/pull/1/head\n",
        );
        let on =
            |branch: &str, commit: &str| Some(Target { branch: Some(branch.into()), commit: commit.into(), tag: None });
        let loose = |commit: &str| Some(Target { branch: None, commit: commit.into(), tag: None });
        let tagged =
            |tag: &str, commit: &str| Some(Target { branch: None, commit: commit.into(), tag: Some(tag.into()) });
        assert_eq!([refs.target("HEAD"), refs.target("both")], [on("main", "a1"), on("both", "b2")]);
        assert_eq!([refs.target("v1"), refs.target("refs/pull/1/head")], [tagged("d4", "e5"), loose("f6")]);
        assert_eq!(refs.target(&"AB".repeat(20)), loose(&"ab".repeat(20)));
        assert_eq!([refs.target("none"), refs.target("abc123")], [None, None]);
    }
}
