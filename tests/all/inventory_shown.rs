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

#[test]
fn hosts_are_listed_without_a_task_and_variables_stand_where_they_were_written() {
    let program = Program::new();
    program
        .file("hosts", "[web]\nweb[1:3] port=80\n[db]\ndb1\n[web:vars]\nx=1\n")
        .file("group_vars/web.yml", "z: [1, 2]\n")
        .file("host_vars/db1.yml", "h: true\n")
        .file("play.yml", "- hosts: db\n  tasks:\n    - debug: {msg: a}\n      tags: [never, late]\n");
    let read = |words: &str| program.run(words).expect(0).stdout;
    assert_eq!(read("run -i hosts web:!web2 --list-hosts"), "  hosts (2):\n    web1\n    web3\n");
    assert_eq!(read("run -i hosts all -l db --list-hosts"), "  hosts (1):\n    db1\n");
    let none = program.run("run -i hosts nope --list-hosts").expect(0);
    assert!(none.stdout == "  hosts (0):\n" && none.stderr.contains("nope"), "{}", none.stderr);
    let list: serde_json::Value = serde_json::from_str(&read("inventory -i hosts --list --export")).unwrap();
    assert_eq!(list["web"]["vars"], serde_json::json!({"x": 1, "z": [1, 2]}));
    assert_eq!(list["_meta"]["hostvars"]["db1"], serde_json::json!({"h": true}));
    assert!(read("inventory -i hosts --graph --vars").contains("  |  |--{z = [1, 2]}\n"));
    assert!(read("play -i hosts play.yml --list-tags").ends_with("TASK TAGS: [late, never]\n"));
    let told = read("run -i localhost, localhost -m debug -a msg=hi");
    assert_eq!(told, "localhost | SUCCESS => {\n    \"msg\": \"hi\"\n}\n");
}
