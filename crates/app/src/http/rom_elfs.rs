//! ROM ELFs (contract §8.2).

pub mod views;

use actix_web::{HttpRequest, HttpResponse, web};
use coredock_domain::RomElfs;
use coredock_domain::artifacts::spooled_file::SpooledFile;
use coredock_domain::chip::KnownChip;
use coredock_domain::fields::FieldFault;
use coredock_domain::rom_elfs::rom_elf::{
    LARGEST_ROM_ELF_BYTES, RomElf, RomElfError, RomElfFile, RomElfName,
};
use coredock_domain::rom_elfs::{UploadRomElf, UploadRomElfError};
use tracing::Instrument;

use super::firmware::upload::UploadRules;
use super::request::body::raw_upload;
use super::request::error::{ApiError, ErrorCode, ErrorView};
use super::request::feature::Feature;
use super::request::identity::{Editor, Viewer};
use super::request::query::QueryFields;
use crate::logging::chain;
use views::{RomElfListView, RomElfView};

/// All ROM ELFs, by chip and name.
#[utoipa::path(get, path = "/api/rom-elfs", tag = "rom-elfs", operation_id = "list_rom_elfs",
    responses((status = 200, body = RomElfListView), (status = 503, body = ErrorView)))]
pub async fn list_rom_elfs(
    _: Viewer,
    rom_elfs: Feature<RomElfs>,
) -> Result<HttpResponse, ApiError> {
    let operation = rom_elfs.begin("list_rom_elfs");
    let listed = operation.end(rom_elfs.list().await.map_err(ApiError::from))?;
    Ok(HttpResponse::Ok().json(RomElfListView::from(listed)))
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
    request: HttpRequest,
    payload: web::Payload,
    (rom_elfs, rules): (Feature<RomElfs>, web::Data<UploadRules>),
) -> Result<HttpResponse, ApiError> {
    let claims = claims(request.query_string())?;
    let operation = rom_elfs.begin("upload_rom_elf");
    let outcome = async {
        let body = raw_upload(payload, &request, &rules.spool, LARGEST_ROM_ELF_BYTES).await?;
        let file = open(body, claims.chip).await?;
        let upload = UploadRomElf { name: claims.name, file, origin: caller.origin() };
        store(upload, &rom_elfs, &rules).await
    };
    let uploaded = operation.end(outcome.await)?;
    Ok(HttpResponse::Created().json(RomElfView::from(uploaded)))
}

/// Deletes a ROM ELF.
#[utoipa::path(delete, path = "/api/rom-elfs/{id}", tag = "rom-elfs",
    operation_id = "delete_rom_elf", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_rom_elf(
    caller: Editor,
    id: web::Path<i64>,
    rom_elfs: Feature<RomElfs>,
) -> Result<HttpResponse, ApiError> {
    let operation = rom_elfs.begin("delete_rom_elf");
    let deleted = rom_elfs.delete(*id, caller.origin()).await.map_err(ApiError::from);
    operation.end(deleted.and_then(|deleted| {
        if deleted {
            Ok(HttpResponse::NoContent().finish())
        } else {
            Err(ApiError::not_found("RomElf", *id))
        }
    }))
}

/// What the caller says of the ELF.
struct Claims {
    chip: KnownChip,
    name: RomElfName,
}

/// Both parameters are reported when both are wrong.
fn claims(query: &str) -> Result<Claims, Vec<FieldFault>> {
    let mut fields = QueryFields::new(query);
    let chip = fields.required("chip", "must be the name of a known chip", KnownChip::named);
    let name = fields.required("name", "must be 1 to 64 printable characters", RomElfName::parse);
    let faults = fields.finish();
    let claims = chip.zip(name).map(|(chip, name)| Claims { chip, name });
    claims.ok_or_else(|| faults.err().unwrap_or_default())
}

async fn open(body: SpooledFile, chip: KnownChip) -> Result<RomElfFile, ApiError> {
    let opened = web::block(move || RomElfFile::open(body, chip)).await;
    let opened = opened.map_err(|error| ApiError::unexpected(error.to_string()))?;
    opened.map_err(|error| elf_error(&error))
}

fn elf_error(error: &RomElfError) -> ApiError {
    if error.is_outage() {
        ApiError::unavailable(error)
    } else {
        ApiError::invalid(error.to_string())
    }
}

/// Goes on when the caller hangs up: an upload left half-way keeps others waiting for its lease.
async fn store(
    upload: UploadRomElf,
    rom_elfs: &RomElfs,
    rules: &UploadRules,
) -> Result<RomElf, ApiError> {
    let rom_elfs = rom_elfs.clone();
    let storing = async move { rom_elfs.upload(upload).await }.in_current_span();
    let stored = rules.tasks.spawn(storing).await;
    let stored = stored.map_err(|error| ApiError::unexpected(error.to_string()))?;
    stored.map_err(|error| upload_error(&error))
}

fn upload_error(error: &UploadRomElfError) -> ApiError {
    match error {
        UploadRomElfError::Held(held) => {
            let message = format!("RomElf {} has the same SHA-256 ({})", held.id, held.name);
            ApiError::new(ErrorCode::RecordExists, message)
        }
        UploadRomElfError::Busy | UploadRomElfError::LeaseLost(_) => ApiError::outage(chain(error)),
        UploadRomElfError::Repository(error) => error.into(),
        UploadRomElfError::Store(error) => error.into(),
    }
}
