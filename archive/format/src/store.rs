//! Where an archive lies: a folder, or a prefix of a bucket; and how often it was asked.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use cli_common::{Access, Existing, WholeFile};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, WriteMultipart};
use tokio::runtime::{Handle, Runtime};
use url::Url;

use crate::error::ArchiveError;

/// What is larger is uploaded in parts of this size: S3 takes no smaller ones.
const PART: usize = 8 << 20;
/// So many parts are under way at once.
const PARTS: usize = 4;

/// What every request runs on. One for the process: requests come from threads of verifications and of the engine alike.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("object-store")
        .enable_all()
        .build()
        .expect("the system gives threads")
});

/// An object store, below one address. Its methods wait.
#[derive(Debug, Clone)]
pub struct Store {
    url: Url,
    objects: Arc<dyn ObjectStore>,
    root: Path,
    /// Of a folder: objects are written by us, since they must be on disk before a manifest names them.
    folder: Option<PathBuf>,
    requests: Arc<AtomicU64>,
}

impl Store {
    /// Opens a store by its address: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`, `file:///…`, or a folder's path. Credentials and
    /// endpoints are taken from the environment, as the vendors name them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
    /// `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, …).
    ///
    /// # Errors
    /// If the address leads to no kind of store.
    pub fn open(address: &str) -> Result<Self, ArchiveError> {
        let url = to_url(address)?;
        let refused = |error: object_store::Error| ArchiveError::Address {
            url: cli_common::redact_url(url.as_str()),
            what: error.to_string(),
        };
        let (objects, root) = object_store::parse_url_opts(&url, std::env::vars()).map_err(refused)?;
        let folder = (url.scheme() == "file")
            .then(|| url.to_file_path())
            .and_then(Result::ok);
        Ok(Self {
            folder,
            objects: objects.into(),
            root,
            requests: Arc::default(),
            url,
        })
    }

    /// The address, without secrets.
    pub fn name(&self) -> String {
        match &self.folder {
            Some(folder) => folder.display().to_string().trim_end_matches('/').to_owned(),
            None => cli_common::redact_url(self.url.as_str())
                .trim_end_matches('/')
                .to_owned(),
        }
    }

    /// The address as others open it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The store below the address, for the query engine.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Where an object lies in that store.
    pub fn path(&self, object: &str) -> Path {
        object.split('/').fold(self.root.clone(), Path::join)
    }

    /// How often the store was asked for something.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn ask<T: Send>(
        &self,
        object: &str,
        request: impl Future<Output = object_store::Result<T>> + Send,
    ) -> Result<T, ArchiveError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = wait(request);
        answer.map_err(|error| self.failed(object, &error))
    }

    fn failed(&self, object: &str, error: &object_store::Error) -> ArchiveError {
        ArchiveError::Store {
            object: format!("{}/{object}", self.name()),
            what: match error {
                object_store::Error::NotFound { .. } => "it is not there".to_owned(),
                error => cli_common::redact_text(&error.to_string()),
            },
        }
    }

    /// The names of the objects in a folder of the archive.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>, ArchiveError> {
        let path = self.path(folder);
        let found = self.ask(folder, async {
            let objects = self.objects.list(Some(&path));
            let names = objects.map_ok(|object| object.location.filename().map(str::to_owned));
            names.try_collect::<Vec<_>>().await
        });
        Ok(found?.into_iter().flatten().collect())
    }

    /// A whole object, of at most so many bytes; `None` if it is not there.
    pub(crate) fn get(&self, object: &str, limit: u64) -> Result<Option<Bytes>, ArchiveError> {
        let path = self.path(object);
        let found = self.ask(object, async {
            let found = match self.objects.get(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            if found.meta.size > limit {
                return Ok(Some(Err(found.meta.size)));
            }
            found.bytes().await.map(|bytes| Some(Ok(bytes)))
        })?;
        found
            .transpose()
            .map_err(|size| ArchiveError::damaged(object, format!("it has {size} bytes, which is too many")))
    }

    /// Some bytes of an object.
    pub(crate) fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes, ArchiveError> {
        let path = self.path(object);
        let wanted = range.end - range.start;
        let read = self.ask(object, self.objects.get_range(&path, range.clone()));
        match read {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(bytes),
            // Whether it was cut off, is gone, or the store fails, the store does not say in one way.
            other => match self.size(object)? {
                None => Err(ArchiveError::damaged(object, "it is not there")),
                Some(size) if size < range.end => {
                    let what = format!("it has {size} bytes, and ends before byte {}", range.end);
                    Err(ArchiveError::damaged(object, what))
                }
                Some(_) => other.and(Err(ArchiveError::damaged(object, "it is cut off"))),
            },
        }
    }

    /// How large an object is; `None` if it is not there.
    fn size(&self, object: &str) -> Result<Option<u64>, ArchiveError> {
        let path = self.path(object);
        self.ask(object, async {
            match self.objects.head(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                found => found.map(|meta| Some(meta.size)),
            }
        })
    }

    /// Writes a small object that is not there yet; false if it is.
    pub(crate) fn create(&self, object: &str, bytes: Bytes) -> Result<bool, ArchiveError> {
        if self.folder.is_some() {
            return self.write_in_folder(object, &mut &bytes[..]);
        }
        let path = self.path(object);
        let options = PutOptions::from(PutMode::Create);
        self.ask(object, async {
            match self.objects.put_opts(&path, bytes.into(), options).await {
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                put => put.map(|_| true),
            }
        })
    }

    /// Writes a small object whose name is made of its content: if it is there, it is the same.
    pub(crate) fn put(&self, object: &str, bytes: Bytes) -> Result<(), ArchiveError> {
        if self.folder.is_some() {
            return self.write_in_folder(object, &mut &bytes[..]).map(drop);
        }
        let path = self.path(object);
        self.ask(object, self.objects.put(&path, bytes.into())).map(drop)
    }

    /// Writes an object out of a file. Its name is made of its content: if it is there, it is the same.
    pub(crate) fn upload(&self, object: &str, file: &mut std::fs::File) -> Result<(), ArchiveError> {
        let local = ArchiveError::io;
        let length = file.seek(SeekFrom::End(0)).map_err(local("a temporary file"))?;
        file.rewind().map_err(local("a temporary file"))?;
        if self.folder.is_some() {
            return self.write_in_folder(object, file).map(drop);
        }
        if length <= PART as u64 {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(local("a temporary file"))?;
            return self.put(object, bytes.into());
        }
        let path = self.path(object);
        let upload = self.ask(object, self.objects.put_multipart(&path))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        let mut left = length;
        while left > 0 {
            let mut part = vec![0; PART.min(usize::try_from(left).unwrap_or(PART))];
            file.read_exact(&mut part).map_err(local("a temporary file"))?;
            left -= part.len() as u64;
            self.ask(object, async {
                upload.wait_for_capacity(PARTS).await?;
                upload.put(part.into());
                Ok(())
            })?;
        }
        self.ask(object, upload.finish()).map(drop)
    }

    /// False if it is there, and stays.
    fn write_in_folder(&self, object: &str, content: &mut dyn Read) -> Result<bool, ArchiveError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.as_deref().expect("only asked of folders");
        let path = object
            .split('/')
            .fold(folder.to_owned(), |path, part| path.join(part));
        let mut written = || -> std::io::Result<bool> {
            let parent = path.parent().unwrap_or(FilePath::new("."));
            std::fs::create_dir_all(parent)?;
            let mut file = match WholeFile::create(&path, Access::Others, Existing::Keep) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(false),
                file => file?,
            };
            std::io::copy(content, &mut file)?;
            match file.finish() {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
                done => done.map(|()| true),
            }
        };
        written().map_err(ArchiveError::io(&path.display().to_string()))
    }
}

/// Waits for a request. Whoever asks may be within a runtime of their own (a log gives its rows out of one), which may not wait
/// for another one on its thread.
fn wait<T: Send>(request: impl Future<Output = T> + Send) -> T {
    if Handle::try_current().is_err() {
        return RUNTIME.block_on(request);
    }
    let waited = std::thread::scope(|scope| scope.spawn(|| RUNTIME.block_on(request)).join());
    waited.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}

/// An address as a URL; a path is one of a folder.
fn to_url(address: &str) -> Result<Url, ArchiveError> {
    let refused = |what: String| ArchiveError::Address {
        url: cli_common::redact_url(address),
        what,
    };
    if address.contains("://") {
        let mut url: Url = address
            .parse()
            .map_err(|error: url::ParseError| refused(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(
                "credentials are taken from the environment, not from the address".into(),
            ));
        }
        url.set_query(None);
        url.set_fragment(None);
        return Ok(url);
    }
    let path = std::path::absolute(address).map_err(|error| refused(error.to_string()))?;
    Url::from_directory_path(&path).map_err(|()| refused("it is no path".into()))
}
