//! Tests of the whole system: the real binary, real services, real agents and clients, and the shape of the workspace.
