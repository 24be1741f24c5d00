//! The C interface of the SpiceDB library.
#![expect(unsafe_code, reason = "the library is called through C functions")]

use std::ffi::{CStr, c_char, c_int, c_uchar, c_ulonglong, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use anyhow::Context;

use crate::wire::Failure;

type Start = unsafe extern "C" fn(*const c_char) -> *mut c_char;
type FreeText = unsafe extern "C" fn(*mut c_char);
type FreeBytes = unsafe extern "C" fn(*mut c_void);
type Unary = unsafe extern "C" fn(c_ulonglong, *const c_uchar, c_int, *mut *mut c_uchar, *mut c_int, *mut *mut c_char);

/// The unary calls the library offers: their gRPC paths and the functions behind them.
const CALLS: [(&str, &CStr); 7] = [
    ("/authzed.api.v1.PermissionsService/CheckPermission", c"spicedb_permissions_check_permission"),
    ("/authzed.api.v1.PermissionsService/CheckBulkPermissions", c"spicedb_permissions_check_bulk_permissions"),
    ("/authzed.api.v1.PermissionsService/WriteRelationships", c"spicedb_permissions_write_relationships"),
    ("/authzed.api.v1.PermissionsService/DeleteRelationships", c"spicedb_permissions_delete_relationships"),
    ("/authzed.api.v1.PermissionsService/ExpandPermissionTree", c"spicedb_permissions_expand_permission_tree"),
    ("/authzed.api.v1.SchemaService/ReadSchema", c"spicedb_schema_read_schema"),
    ("/authzed.api.v1.SchemaService/WriteSchema", c"spicedb_schema_write_schema"),
];

/// One of the unary calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call(usize);

impl Call {
    /// The call with this gRPC path.
    pub(crate) fn at(path: &str) -> Option<Self> {
        CALLS.iter().position(|(known, _)| *known == path).map(Self)
    }

    /// Whether it changes what is stored.
    pub(crate) fn writes(self) -> bool {
        let (path, _) = CALLS[self.0];
        ["/WriteRelationships", "/DeleteRelationships", "/WriteSchema"].iter().any(|name| path.ends_with(name))
    }
}

/// What starting an instance answers.
pub(crate) struct Started {
    pub(crate) handle: u64,
    pub(crate) streams: PathBuf,
}

/// The loaded library. It stays loaded until the program ends.
pub(crate) struct Library {
    start: Start,
    free_text: FreeText,
    free_bytes: FreeBytes,
    calls: [Unary; CALLS.len()],
}

impl Library {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        // SAFETY: loading runs the initialisers of a library that is made for this, and the types are those it
        // documents for its functions. It is never unloaded, so the functions stay where they are.
        unsafe {
            let library = libloading::Library::new(path).with_context(|| format!("cannot load {}", path.display()))?;
            let library = Box::leak(Box::new(library));
            let mut calls = Vec::with_capacity(CALLS.len());
            for (_, name) in CALLS {
                calls.push(*library.get::<Unary>(name)?);
            }
            Ok(Self {
                start: *library.get::<Start>(c"spicedb_start")?,
                free_text: *library.get::<FreeText>(c"spicedb_free")?,
                free_bytes: *library.get::<FreeBytes>(c"spicedb_free_bytes")?,
                calls: calls.try_into().expect("one function was found for each call"),
            })
        }
    }

    /// Starts an empty SpiceDB that keeps its data in memory.
    pub(crate) fn start(&self) -> Result<Started, Failure> {
        // SAFETY: the options are a C string, and the answer is one that `take_text` frees.
        let answer = unsafe {
            let answer = (self.start)(c"{}".as_ptr());
            self.take_text(answer)
        };
        let answer: serde_json::Value =
            serde_json::from_str(&answer).map_err(|error| Failure::internal(format!("{error}: {answer}")))?;
        let data = &answer["data"];
        match (data["handle"].as_u64(), data["streaming_address"].as_str()) {
            (Some(handle), Some(streams)) => Ok(Started { handle, streams: streams.into() }),
            _ => Err(Failure::internal(answer.to_string())),
        }
    }

    /// Calls and waits for the answer. Messages are encoded protobuf on both sides.
    pub(crate) fn call(&self, handle: u64, call: Call, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let length = c_int::try_from(message.len()).map_err(|error| Failure::internal(error.to_string()))?;
        let mut response = ptr::null_mut();
        let mut response_length: c_int = 0;
        let mut error = ptr::null_mut();
        // SAFETY: the request outlives the call; the library fills in either a response of the length it says or an
        // error text, and hands over either, to be freed once with the function for it.
        unsafe {
            (self.calls[call.0])(handle, message.as_ptr(), length, &mut response, &mut response_length, &mut error);
            if !error.is_null() {
                return Err(Failure::from_text(&self.take_text(error)));
            }
            if response.is_null() {
                return Ok(Vec::new());
            }
            let length = usize::try_from(response_length).unwrap_or_default();
            let bytes = std::slice::from_raw_parts(response, length).to_vec();
            (self.free_bytes)(response.cast());
            Ok(bytes)
        }
    }

    /// # Safety
    /// `text` is null or a C string of the library that nobody freed yet.
    unsafe fn take_text(&self, text: *mut c_char) -> String {
        if text.is_null() {
            return String::new();
        }
        // SAFETY: as the caller promises.
        unsafe {
            let taken = CStr::from_ptr(text).to_string_lossy().into_owned();
            (self.free_text)(text);
            taken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_that_write_are_known() {
        let writing: Vec<&str> =
            CALLS.iter().filter(|(path, _)| Call::at(path).is_some_and(Call::writes)).map(|(path, _)| *path).collect();

        assert_eq!(
            writing,
            [
                "/authzed.api.v1.PermissionsService/WriteRelationships",
                "/authzed.api.v1.PermissionsService/DeleteRelationships",
                "/authzed.api.v1.SchemaService/WriteSchema",
            ]
        );
    }
}
