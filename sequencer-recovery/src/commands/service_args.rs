//! How witnesses are asked that others have to give out: sequencers' gRPC services, and archives of events.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cli_common::CliError;
use cli_common::archive::{ArchiveAddress, ArchiveReader};
use cli_common::keys::ApiKey;
use grpc_client::Address;
use sequencer_recovery::witness::{Archives, Services};

/// How services and archives given with `--witness` are asked.
#[derive(Debug, Args)]
pub struct ServiceArgs {
    /// A file with the API key that gRPC witnesses are shown; without it SEQUENCER_API_KEY
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Send the API key over plain grpc:// to another machine
    #[arg(long)]
    allow_http: bool,

    /// Keep what gRPC witnesses give in this folder; another run goes on from there
    #[arg(long, value_name = "FOLDER")]
    pull_folder: Option<PathBuf>,

    /// Requests in a second at most, to each gRPC witness [default: 20]
    #[arg(long, value_name = "REQUESTS", value_parser = rate)]
    pull_rate: Option<f64>,

    /// How long each gRPC witness is asked, and each archive copied, at most: 90 (seconds), 90s, 15m, 1h [default: 1h, of an
    /// archive 6h]
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    pull_time: Option<Duration>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        _ => Err("not a number from 0.01 to 1000000".into()),
    }
}

/// The address of a service, if a witness's name is one.
pub fn address(name: &OsStr) -> Result<Option<Address>, CliError> {
    let read = name.to_str().and_then(Address::recognise).transpose();
    read.map_err(|error| {
        CliError::usage(format!("--witness: {error}")).with_hint(
            "give grpc://host:port, or grpcs://host:port for TLS; the API key comes from SEQUENCER_API_KEY or --api-key-file",
        )
    })
}

impl ServiceArgs {
    /// These services, asked as the arguments say.
    pub fn services(&self, addresses: Vec<Address>) -> Result<Services, CliError> {
        let key = match addresses.is_empty() {
            true => None,
            false => ApiKey::read(self.api_key_file.as_deref())?,
        };
        let open = addresses.iter().find(|address| address.is_open());
        if let Some(open) = open.filter(|_| key.is_some() && !self.allow_http) {
            return Err(CliError::usage(format!(
                "the API key would go over the network in the open to {open}"
            ))
            .with_hint("use grpcs://, or --allow-http in a network that you trust"));
        }
        let default = Services::default();
        Ok(Services {
            addresses,
            key,
            rate: self.pull_rate.unwrap_or(default.rate),
            longest: self.pull_time.unwrap_or(default.longest),
            folder: self.pull_folder.clone(),
        })
    }

    /// These archives, read by the program that the environment has.
    pub fn archives(&self, addresses: Vec<ArchiveAddress>) -> Archives {
        let mut reader = ArchiveReader::of_environment();
        reader.longest = self.pull_time.unwrap_or(reader.longest);
        Archives { addresses, reader }
    }

    /// As words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let files = [
            ("--api-key-file", &self.api_key_file),
            ("--pull-folder", &self.pull_folder),
        ];
        for (option, file) in files {
            if let Some(file) = file {
                words.extend([option.into(), file.clone().into_os_string()]);
            }
        }
        if self.allow_http {
            words.push("--allow-http".into());
        }
        if let Some(rate) = self.pull_rate {
            words.extend(["--pull-rate".into(), rate.to_string().into()]);
        }
        if let Some(time) = self.pull_time {
            words.extend(["--pull-time".into(), format!("{}s", time.as_secs_f64()).into()]);
        }
        words
    }
}
