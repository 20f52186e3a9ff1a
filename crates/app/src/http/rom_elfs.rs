//! ROM ELFs (contract §8.2).

pub mod views;

use actix_web::web::{self, Data, Json, Path};
use coredock_domain::RomElfs;
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::chip::KnownChip;
use coredock_domain::rom_elfs::rom_elf::{CheckedRomElf, RomElfError, RomElfName};
use coredock_domain::rom_elfs::{UploadRomElf, UploadRomElfError};

use super::request::answer::{Created, NoContent};
use super::request::body::{UnreadBody, complete};
use super::request::detached::DetachedTasks;
use super::request::error::{ApiError, ApiResult, ErrorCode, ErrorView};
use super::request::identity::{Editor, Viewer};
use super::request::query::{FromQuery, QueryFields, ValidQuery};
use crate::logging::chain;
use views::{RomElfListView, RomElfView};

/// All ROM ELFs, by chip and name.
#[utoipa::path(get, path = "/api/rom-elfs", tag = "rom-elfs", operation_id = "list_rom_elfs",
    responses((status = 200, body = RomElfListView), (status = 503, body = ErrorView)))]
pub async fn list_rom_elfs(_: Viewer, rom_elfs: Data<RomElfs>) -> ApiResult<Json<RomElfListView>> {
    Ok(Json(rom_elfs.list().await?.into()))
}

/// Uploads a ROM ELF.
#[utoipa::path(post, path = "/api/rom-elfs", tag = "rom-elfs", operation_id = "upload_rom_elf",
    params(("chip" = String, Query), ("name" = String, Query)),
    request_body(content_type = "application/octet-stream", description = "The ELF"),
    responses((status = 201, body = RomElfView), (status = 400, body = ErrorView),
        (status = 409, body = ErrorView), (status = 413, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn upload_rom_elf(
    caller: Editor,
    parameters: ValidQuery<RomElfParameters>,
    body: UnreadBody,
    rom_elfs: Data<RomElfs>,
    spool: Data<SpoolDirectory>,
    tasks: Data<DetachedTasks>,
) -> ApiResult<Created<RomElfView>> {
    let RomElfParameters { chip, name } = parameters.0;
    let file = open(body.into_file(&spool).await?, chip).await?;
    let upload = UploadRomElf { name, file, origin: caller.origin() };
    let rom_elfs = rom_elfs.get_ref().clone();
    // A caller that hangs up must not leave an upload half-way: other uploads would wait for its
    // lease.
    let uploaded = tasks.run(async move { rom_elfs.upload(upload).await }).await?;
    Ok(Created(uploaded.map_err(|error| upload_error(&error))?.into()))
}

/// Deletes a ROM ELF.
#[utoipa::path(delete, path = "/api/rom-elfs/{id}", tag = "rom-elfs",
    operation_id = "delete_rom_elf", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_rom_elf(
    caller: Editor,
    id: Path<i64>,
    rom_elfs: Data<RomElfs>,
) -> ApiResult<NoContent> {
    let deleted = rom_elfs.delete(*id, caller.origin()).await?;
    if deleted { Ok(NoContent) } else { Err(ApiError::not_found("RomElf", *id)) }
}

/// The query parameters of an upload.
pub struct RomElfParameters {
    chip: KnownChip,
    name: RomElfName,
}

impl FromQuery for RomElfParameters {
    fn from_query(mut fields: QueryFields<'_>) -> ApiResult<Self> {
        let chip = fields.required("chip", "must be the name of a known chip", KnownChip::named);
        let rule = "must be 1 to 64 printable characters";
        let name = fields.required("name", rule, RomElfName::parse);
        fields.finish()?;
        Ok(Self { chip: complete(chip)?, name: complete(name)? })
    }
}

async fn open(body: SpooledFile, chip: KnownChip) -> ApiResult<CheckedRomElf> {
    let opened = web::block(move || CheckedRomElf::open(body, chip)).await?;
    opened.map_err(|error| elf_error(&error))
}

fn elf_error(error: &RomElfError) -> ApiError {
    if error.is_outage() {
        ApiError::unavailable(error)
    } else {
        ApiError::invalid(error.to_string())
    }
}

fn upload_error(error: &UploadRomElfError) -> ApiError {
    match error {
        UploadRomElfError::Exists(existing) => {
            let message =
                format!("RomElf {} has the same SHA-256 ({})", existing.id, existing.name);
            ApiError::new(ErrorCode::RecordExists, message)
        }
        UploadRomElfError::Busy | UploadRomElfError::LeaseLost(_) => ApiError::outage(chain(error)),
        UploadRomElfError::Repository(error) => error.into(),
        UploadRomElfError::Store(error) => error.into(),
    }
}
