use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use agentex_app::SecretsKey;

use crate::BuildError;

const KEY_FILE: &str = "secrets.key";

/// The folder of an embedded database, held by this process alone until dropped.
#[derive(Debug)]
pub(crate) struct DataFolder {
    folder: PathBuf,
    database_existed: bool,
    _lock: File,
}

impl DataFolder {
    /// Creates the folder of `database` when it is missing and locks the database. The lock belongs to the open file, so
    /// it is gone as soon as the process is, however that ends.
    pub(crate) fn claim(database: &Path) -> Result<Self, BuildError> {
        let folder = folder_of(database);
        let unusable = |source| BuildError::DataFolder { folder: folder.clone(), source };
        create_private_folder(&folder).map_err(unusable)?;
        let database_existed = database.exists();

        let mut name = database.file_name().unwrap_or_default().to_owned();
        name.push(".lock");
        let lock = private(OpenOptions::new().write(true).create(true)).open(folder.join(name)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, database_existed, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(BuildError::InUse { file: database.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    /// The key kept in the folder, made at the first call.
    pub(crate) fn secrets_key(&self) -> Result<SecretsKey, BuildError> {
        let file = self.folder.join(KEY_FILE);
        let unusable = |source| BuildError::DataFolder { folder: self.folder.clone(), source };
        match fs::read_to_string(&file) {
            Ok(text) => SecretsKey::parse(&text).map_err(|source| BuildError::SecretsKey { file, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.database_existed {
                    tracing::warn!(
                        file = %file.display(),
                        "the database is older than its key file; what was sealed with another key cannot be opened"
                    );
                }
                let key = SecretsKey::generate();
                self.write(&file, &key).map_err(unusable)?;
                Ok(key)
            }
            Err(error) => Err(unusable(error)),
        }
    }

    /// The key kept beside `database`, if there is one; the folder is not claimed.
    pub(crate) fn existing_secrets_key(database: &Path) -> Result<Option<SecretsKey>, BuildError> {
        let folder = folder_of(database);
        let file = folder.join(KEY_FILE);
        match fs::read_to_string(&file) {
            Ok(text) => SecretsKey::parse(&text).map(Some).map_err(|source| BuildError::SecretsKey { file, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BuildError::DataFolder { folder, source }),
        }
    }

    /// Writes the key under another name first, so that there is never half a key under its own. The lock keeps other
    /// processes away meanwhile.
    fn write(&self, file: &Path, key: &SecretsKey) -> io::Result<()> {
        let unfinished = file.with_extension("key.new");
        // A leftover of a crash would keep its mode.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut writer = private(OpenOptions::new().write(true).create_new(true)).open(&unfinished)?;
        writeln!(writer, "{}", key.to_hex())?;
        writer.sync_all()?;
        fs::rename(&unfinished, file)?;
        // Makes the name itself survive a power cut; folders cannot be opened everywhere.
        File::open(&self.folder).and_then(|folder| folder.sync_all()).or(Ok(()))
    }
}

fn folder_of(database: &Path) -> PathBuf {
    match database.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Files made with `options` belong to the owner alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("inner/agentex.db");

        let first = DataFolder::claim(&database).unwrap().secrets_key().unwrap();
        let second = DataFolder::claim(&database).unwrap().secrets_key().unwrap();

        assert_eq!(first.to_hex(), second.to_hex());
        assert!(!folder.path().join("inner/secrets.key.new").exists());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode("inner/secrets.key"), 0o600);
            assert_eq!(mode("inner/agentex.db.lock"), 0o600);
            assert_eq!(mode("inner"), 0o700);
        }
    }

    #[test]
    fn a_database_is_held_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("agentex.db");
        let held = DataFolder::claim(&database).unwrap();

        assert!(matches!(DataFolder::claim(&database), Err(BuildError::InUse { .. })));

        drop(held);
        assert!(DataFolder::claim(&database).is_ok());
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), "half-a-key").unwrap();

        let refused = DataFolder::claim(&folder.path().join("agentex.db")).unwrap().secrets_key().unwrap_err();

        assert!(matches!(refused, BuildError::SecretsKey { .. }));
        assert!(!format!("{refused} {refused:?}").contains("half-a-key"));
        assert_eq!(fs::read_to_string(folder.path().join(KEY_FILE)).unwrap(), "half-a-key");
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_reported_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("taken");
        fs::write(&file, "").unwrap();

        let refused = DataFolder::claim(&file.join("agentex.db")).unwrap_err();

        assert!(matches!(&refused, BuildError::DataFolder { .. }), "{refused:?}");
        assert!(refused.to_string().contains("taken"));
    }
}
