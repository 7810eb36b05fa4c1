//! `cutover inventory`, compared with what `ansible-inventory` of ansible-core 2.19 prints of the same files.

use crate::program::Program;

const HOSTS: &str =
    "lone x=1\n[web]\na ansible_host=1.2.3.4\nb\n[db]\nb\n[site:children]\nweb\ndb\n[site:vars]\nk=v\n[empty]\n";

fn shown(flags: &str) -> String {
    let program = Program::new();
    program.file("inv", HOSTS);
    program.run(&format!("inventory -i inv {flags}")).expect(0).stdout
}

#[test]
fn the_graph_is_that_of_ansible() {
    let graph = "@all:\n  |--@ungrouped:\n  |  |--lone\n  |--@site:\n  |  |--@web:\n  |  |  |--a\n  |  |  |--b\n  |  |--@db:\n  |  |  |--b\n  |--@empty:\n";
    assert_eq!(shown("--graph"), graph);
    let vars = shown("--graph --vars site");
    assert!(vars.contains("|  |  |--{ansible_host = 1.2.3.4}\n|") || vars.contains("{k = v}\n  |--{k = v}"), "{vars}");
}

#[test]
fn the_list_is_that_of_ansible() {
    let list: serde_json::Value = serde_json::from_str(&shown("--list")).unwrap();
    let theirs = serde_json::json!({
        "_meta": {
            "hostvars": {"a": {"ansible_host": "1.2.3.4", "k": "v"}, "b": {"k": "v"}, "lone": {"x": 1}},
            "profile": "inventory_legacy"
        },
        "all": {"children": ["ungrouped", "site", "empty"]},
        "db": {"hosts": ["b"]},
        "site": {"children": ["web", "db"]},
        "ungrouped": {"hosts": ["lone"]},
        "web": {"hosts": ["a", "b"]}
    });
    assert_eq!(list, theirs);
    let export: serde_json::Value = serde_json::from_str(&shown("--list --export")).unwrap();
    assert_eq!(export["site"]["vars"]["k"], "v");
    assert_eq!(export["_meta"]["hostvars"]["b"], serde_json::Value::Null);
    assert_eq!(shown("--host b"), "{\n    \"k\": \"v\"\n}\n");
    let yaml = "all:\n  children:\n    site:\n      children:\n        db:\n          hosts:\n            b:";
    assert!(shown("--list -y").starts_with(yaml));
}
