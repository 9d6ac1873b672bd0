//! The rows of the proofs tables, as far as they refer to what the log may have lost. What a proof proves is not
//! looked at.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use uuid::Uuid;
use ves::StreamKey;

use crate::conn::Conn;
use crate::entry::read_stream;
use crate::error::{LogError, RowError, Rows};
use crate::schema::{Table, VES_COMPLIANCE_PROOFS, VES_VALIDITY_PROOFS};
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Row, Value};
use crate::view::{StreamFilter, View};

/// What a proof is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProofKind {
    /// A batch: `ves_validity_proofs`.
    Validity,
    /// An event: `ves_compliance_proofs`.
    Compliance,
}

impl ProofKind {
    /// Both.
    pub const ALL: [ProofKind; 2] = [ProofKind::Validity, ProofKind::Compliance];

    /// The table.
    pub fn table_name(self) -> &'static str {
        self.table().name
    }

    /// What such a proof is about: `batch` or `event`.
    pub fn about(self) -> &'static str {
        match self {
            ProofKind::Validity => "batch",
            ProofKind::Compliance => "event",
        }
    }

    fn table(self) -> &'static Table {
        match self {
            ProofKind::Validity => &VES_VALIDITY_PROOFS,
            ProofKind::Compliance => &VES_COMPLIANCE_PROOFS,
        }
    }
}

/// A row of a proofs table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProofRow {
    /// The stream that it says it is of.
    pub stream: StreamKey,
    /// The proof.
    pub proof_id: Uuid,
    /// The batch or event that it is about.
    pub about: Uuid,
}

const DOING: &str = "looking at proofs";

impl View {
    /// Whether the log has the table of such proofs, as expected.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn has_proofs(&mut self, kind: ProofKind) -> Result<bool, LogError> {
        self.conn.has(kind.table()).await
    }

    /// Gives each proof whose batch or event is not in the log to `each`, by stream. The table must be there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn orphan_proofs(
        &mut self,
        kind: ProofKind,
        filter: &StreamFilter,
        each: &mut dyn FnMut(Result<ProofRow, RowError>),
    ) -> Result<(), LogError> {
        let sql = match kind {
            ProofKind::Validity => both!("orphan_validity_proofs"),
            ProofKind::Compliance => both!("orphan_compliance_proofs"),
        };
        let parameters = [filter.tenant.into(), filter.store.into()];
        self.conn
            .query(DOING, sql, &parameters, &mut |row| {
                each(read_proof(row, kind));
                ControlFlow::Continue(())
            })
            .await
    }

    /// Proofs in the order of their ids, those after `after`, at most `limit`. The table must be there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn proofs_after(
        &mut self,
        kind: ProofKind,
        filter: &StreamFilter,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Rows<ProofRow>, LogError> {
        let sql = match kind {
            ProofKind::Validity => both!("next_validity_proofs"),
            ProofKind::Compliance => both!("next_compliance_proofs"),
        };
        let parameters = [
            filter.tenant.into(),
            filter.store.into(),
            after.into(),
            i64::from(limit).into(),
        ];
        let mut rows = Rows::default();
        self.conn
            .query(DOING, sql, &parameters, &mut |row| {
                rows.push(read_proof(row, kind));
                ControlFlow::Continue(())
            })
            .await?;
        Ok(rows)
    }

    /// Which of these proofs are there. The table must be.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn find_proofs(
        &mut self,
        kind: ProofKind,
        proofs: &[Uuid],
    ) -> Result<BTreeSet<Uuid>, LogError> {
        let mut found = BTreeSet::new();
        let mut each = |row: Row<'_>| {
            found.extend(Columns::new(row).uuid("proof_id"));
            ControlFlow::Continue(())
        };
        match self.conn {
            Conn::Postgres(_) => {
                let sql = match kind {
                    ProofKind::Validity => postgres!("find_validity_proofs"),
                    ProofKind::Compliance => postgres!("find_compliance_proofs"),
                };
                let parameters = [Value::Uuids(proofs.to_vec())];
                self.conn.query(DOING, sql, &parameters, &mut each).await?;
            }
            Conn::Snapshot { .. } => {
                let sql = match kind {
                    ProofKind::Validity => snapshot!("find_validity_proof"),
                    ProofKind::Compliance => snapshot!("find_compliance_proof"),
                };
                for proof in proofs {
                    self.conn.query(DOING, sql, &[(*proof).into()], &mut each).await?;
                }
            }
        }
        Ok(found)
    }
}

fn read_proof(row: Row<'_>, kind: ProofKind) -> Result<ProofRow, RowError> {
    let mut c = Columns::new(row);
    let mut stream = None;
    let mut read = || -> Result<ProofRow, String> {
        let key = read_stream(&mut c)?;
        stream = Some(key);
        Ok(ProofRow {
            stream: key,
            proof_id: c.uuid("proof_id")?,
            about: c.uuid(kind.about())?,
        })
    };
    let proof = read();
    proof.map_err(|what| RowError {
        table: kind.table_name(),
        stream,
        sequence: None,
        what,
    })
}
