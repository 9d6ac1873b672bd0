//! What is said of the log and of its repair: the last room. The audit, the gaps alone, the certificate of what is lost,
//! and the epoch that agents are told.

pub mod audit;
pub mod epoch;
pub mod gaps;
mod helps;
pub mod loss;
