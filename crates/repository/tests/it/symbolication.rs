mod indexes;
mod jobs;
mod results;
