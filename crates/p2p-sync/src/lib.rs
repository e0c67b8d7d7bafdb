//! Building.
pub mod config;
pub mod identity;
pub mod net;
pub mod node;
pub mod store;
pub mod system;
pub use config::Config;
pub use node::{Node, NodeError, StartError, Status};
