use std::path::{Path, PathBuf};

/// Where programs of the tests may have been unpacked: `.tools` at the root of the workspace.
pub(super) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools")
}

/// Folders to look for programs in, best first: those of `PATH`, then `more`, then `.tools` and `.tools/*/bin`.
pub(super) fn folders(more: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(more);
    folders.push(tools());
    folders.push(tools().join("bin"));
    folders.extend(children(&tools()).into_iter().map(|child| child.join("bin")));
    folders
}

/// The entries of a folder, in reverse order of their names; none when it cannot be read.
pub(super) fn children(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort_unstable_by(|a, b| b.cmp(a));
    entries
}

/// The first of `folders` that holds all of `programs`.
pub(super) fn holding(folders: &[PathBuf], programs: &[&str]) -> Option<PathBuf> {
    folders.iter().find(|folder| programs.iter().all(|program| folder.join(program).is_file())).cloned()
}
