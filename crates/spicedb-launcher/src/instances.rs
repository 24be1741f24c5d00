use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::library::{Call, Library, Started};
use crate::wire::Failure;

/// The running SpiceDBs, one for each token.
pub(crate) struct Instances {
    library: Arc<Library>,
    by_token: Mutex<HashMap<String, Arc<OnceCell<Arc<Instance>>>>>,
}

/// One SpiceDB with a store of its own.
pub(crate) struct Instance {
    library: Arc<Library>,
    handle: u64,
    /// The socket its streaming calls are served on.
    pub(crate) streams: PathBuf,
}

impl Instances {
    pub(crate) fn new(library: Library) -> Self {
        Self { library: Arc::new(library), by_token: Mutex::default() }
    }

    /// The instance of `token`, started when there is none yet.
    pub(crate) async fn of(&self, token: &str) -> Result<Arc<Instance>, Failure> {
        let cell = {
            let mut by_token = self.by_token.lock().expect("nothing panics while it holds the map");
            Arc::clone(by_token.entry(token.to_owned()).or_default())
        };
        let start = async {
            let library = Arc::clone(&self.library);
            let Started { handle, streams } = blocking(move || library.start()).await?;
            Ok(Arc::new(Instance { library: Arc::clone(&self.library), handle, streams }))
        };
        cell.get_or_try_init(|| start).await.cloned()
    }
}

impl Instance {
    pub(crate) async fn call(&self, call: Call, message: Bytes) -> Result<Vec<u8>, Failure> {
        let (library, handle) = (Arc::clone(&self.library), self.handle);
        blocking(move || library.call(handle, call, &message)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(Failure::internal(panic.to_string())))
}
