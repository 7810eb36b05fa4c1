//! A million broken texts, none of which may end the program: `cargo bench --bench fuzz`.

#![allow(clippy::disallowed_macros)]

mod mutation;

const INPUTS: u32 = 1_000_000;

fn main() {
    let directory = std::env::temp_dir().join(format!("cutover-fuzz-{}", std::process::id()));
    if std::fs::create_dir_all(&directory).is_err() {
        return;
    }
    let mut readers = mutation::Readers::new(&directory);
    (0..INPUTS).for_each(|_| readers.next());
    println!("{INPUTS} texts read: each has its answer, and none ended the program");
    let _ = std::fs::remove_dir_all(&directory);
}
