//! A new migration file is a change, too: `migrate!` itself only sees the files that were there.

fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
