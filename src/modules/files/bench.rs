//! A host in memory and a controller directory, for the tests of modules.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::change::{ApplyError, Change, On, Reach, apply};
use crate::host::{Controller, Pendings, View};
use crate::modules::{ModuleError, Outcome, Planned, Results, find};
use crate::transport::memory::Memory;
use crate::transport::{Links, Node};

pub struct Bench {
    pub host: Memory,
    /// Where changes of the controller go.
    pub controller: Memory,
    /// Where tasks look for their files.
    pub directory: tempfile::TempDir,
}

impl Bench {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Bench {
        Bench::login("root")
    }

    pub fn login(user: &str) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        Bench { host: Memory::login(user), controller: Memory::new(), directory }
    }

    /// Puts a file into the controller's search directory.
    pub fn source(&self, name: &str, text: &str) -> &Bench {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn view(&self, pending: &Arc<Pendings>) -> View {
        let controller = Controller {
            search: vec![self.directory.path().to_path_buf()],
            render: Box::new(|_: &Path, text, options| {
                let name = format!("{} me {}", options.variable_start, options.variable_end);
                Ok(text.replace(&name, "mail.example.com"))
            }),
            transport: Arc::new(self.controller.clone()),
        };
        let host = Arc::new(self.host.clone());
        View::new("new", host.clone(), pending.clone(), (Arc::new(controller), host))
    }

    pub async fn plan(&self, module: &str, arguments: Value) -> Result<Planned, ModuleError> {
        self.plan_after(&Arc::default(), module, arguments).await
    }

    /// Plans on top of what is pending, as a check does, and adds to it.
    pub async fn plan_after(
        &self,
        pending: &Arc<Pendings>,
        module: &str,
        arguments: Value,
    ) -> Result<Planned, ModuleError> {
        let entry = find(module).unwrap();
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        let module = (entry.build)(&entry.arguments(arguments)?)?;
        let before = (self.host.tree(), self.controller.tree());
        let planned = module.plan(&self.view(pending)).await?;
        assert_eq!((self.host.tree(), self.controller.tree()), before, "a plan writes nothing");
        planned.changes.iter().for_each(|change| pending.record("new", change));
        Ok(planned)
    }

    pub async fn apply(&self, changes: &[Change]) {
        self.tries(changes).await.unwrap();
    }

    pub async fn tries(&self, changes: &[Change]) -> Result<(), ApplyError> {
        let reach = Reach { host: &self.host, controller: &self.controller, machines: &self.host, progress: &|_| {} };
        for change in changes {
            apply(change, reach).await?;
        }
        Ok(())
    }

    /// Plans, applies, and sees that a second plan is empty; returns the first's results.
    pub async fn twice(&self, module: &str, arguments: Value) -> Results {
        let first = self.plan(module, arguments.clone()).await.unwrap();
        self.apply(&first.changes).await;
        let second = self.plan(module, arguments).await.unwrap();
        assert!(second.changes.is_empty(), "a second run changes nothing: {:#?}", second.changes);
        results(first)
    }

    /// Returns how many exchanges a task needs that finds everything as asked.
    pub async fn exchanges(&self, module: &str, arguments: Value) -> usize {
        self.twice(module, arguments.clone()).await;
        let before = self.host.exchanges();
        self.plan(module, arguments).await.unwrap();
        self.host.exchanges() - before
    }

    /// Returns the message of a module that has no plan.
    pub async fn fails(&self, module: &str, arguments: Value) -> String {
        let planned = self.plan(module, arguments).await;
        planned.err().expect("a failure").to_string()
    }

    pub fn mode(&self, path: &str) -> u32 {
        self.host.node(path, Links::Keep).permissions().unwrap().mode
    }

    pub fn exists(&self, path: &str) -> bool {
        self.host.node(path, Links::Keep).exists()
    }
}

pub fn results(planned: Planned) -> Results {
    match planned.result {
        Outcome::Known(results) => results,
        Outcome::Applied(_) | Outcome::Read(_) => panic!("a result that is not known"),
    }
}

/// Returns `path` and what it becomes, for each path change on the host.
pub fn afters(changes: &[Change]) -> Vec<(&str, &Node)> {
    let on_host = changes.iter().filter_map(|change| match change {
        Change::Path { on: On::Host, change } => Some((change.path(), change.after())),
        _ => None,
    });
    on_host.collect()
}
