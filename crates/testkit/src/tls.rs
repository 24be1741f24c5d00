//! The TLS provider that HTTP clients need before the first one is made.

use std::sync::Once;

/// Makes *ring* the provider of this process; safe to call as often as one likes.
pub fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error means that somebody else installed one already, which is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
