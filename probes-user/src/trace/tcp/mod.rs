//! What the traces of TCP share: sockets followed from event to event, their states, their owners.

pub mod diagram;
pub mod ends;
mod find;
pub mod flow;
pub mod flows;
mod listed;
pub mod marks;
pub mod owners;
pub mod queues;
pub mod shown;
#[cfg(test)]
pub(crate) mod tests;
