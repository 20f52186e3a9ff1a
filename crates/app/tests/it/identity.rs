//! Who is admitted (contract §3).

mod chromium;
mod devices;
mod matrix;
mod outage;
mod sign_in;
mod sites;
mod tokens;
