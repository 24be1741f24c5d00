use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

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
    /// Held by the call that writes. When several write at once, the store in memory files its snapshots in another
    /// order than it numbers them, and a read then misses what was acknowledged (authzed/spicedb#3212).
    writing: Arc<AsyncMutex<()>>,
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
            Ok(Arc::new(Instance { library: Arc::clone(&self.library), handle, writing: Arc::default(), streams }))
        };
        cell.get_or_try_init(|| start).await.cloned()
    }
}

impl Instance {
    pub(crate) async fn call(&self, call: Call, message: Bytes) -> Result<Vec<u8>, Failure> {
        let (library, handle) = (Arc::clone(&self.library), self.handle);
        let turn = if call.writes() { Some(Arc::clone(&self.writing).lock_owned().await) } else { None };
        blocking(move || {
            let answer = library.call(handle, call, &message);
            // Here and not outside: the call goes on when whoever asked has hung up.
            drop(turn);
            answer
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(Failure::internal(panic.to_string())))
}
