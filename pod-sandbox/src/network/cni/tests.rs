//! The client against scripted plugins. No root needed: nothing here touches a real network.

mod fixture;
mod formats;
mod ownership;
mod readiness;
mod real;
mod verbs;
