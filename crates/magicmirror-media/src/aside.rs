//! Writing beside the target and renaming, so that a failure leaves what was there before.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::MediaError;

/// Write a file through `write` into the target's directory (created if need be), then rename it over the target.
/// The temporary file is removed when anything fails.
pub(crate) fn write_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), MediaError>,
) -> Result<(), MediaError> {
    let parent = parent_of(path)?;
    fs::create_dir_all(&parent).map_err(MediaError::write(&parent))?;
    let mut builder = tempfile::Builder::new();
    let temporary = readable(&mut builder, 0o666).prefix(".writing-").tempfile_in(&parent);
    let temporary = temporary.map_err(MediaError::write(path))?;
    let mut writer = BufWriter::new(temporary.as_file());
    write(&mut writer)?;
    writer.flush().map_err(MediaError::write(path))?;
    drop(writer);
    // Some file systems say only here that the disk is full.
    temporary.as_file().sync_all().map_err(MediaError::write(path))?;
    temporary.persist(path).map(drop).map_err(|error| MediaError::write(path)(error.error))
}

/// Fill a folder through `fill` beside the target, then rename it to the target, replacing a folder that is there.
/// Whether that folder may be replaced is for the caller to know.
pub(crate) fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<(), MediaError>) -> Result<(), MediaError> {
    let parent = parent_of(path)?;
    fs::create_dir_all(&parent).map_err(MediaError::write(&parent))?;
    let mut builder = tempfile::Builder::new();
    let temporary = readable(&mut builder, 0o777).prefix(".writing-").tempdir_in(&parent);
    let temporary = temporary.map_err(MediaError::write(path))?;
    fill(temporary.path())?;
    replace_folder(temporary.path(), path, &parent).map_err(MediaError::write(path))?;
    // It has another name now: there is nothing to remove.
    let _renamed = temporary.keep();
    Ok(())
}

/// The directory that holds `path`; `.` for a bare name.
pub(crate) fn parent_of(path: &Path) -> Result<PathBuf, MediaError> {
    if path.file_name().is_none() {
        return Err(MediaError::NoFileName { path: path.to_owned() });
    }
    Ok(match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    })
}

fn replace_folder(from: &Path, to: &Path, parent: &Path) -> io::Result<()> {
    if !to.exists() {
        return fs::rename(from, to);
    }
    let previous = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent)?;
    let kept = previous.path().join("frames");
    fs::rename(to, &kept)?;
    let renamed = fs::rename(from, to);
    if renamed.is_err() && fs::rename(&kept, to).is_err() {
        // Neither the new nor the old fits there any more: at least the old must survive under its other name.
        let _kept = previous.keep();
    }
    renamed
}

/// Temporary files are private by default; these become the user's own files, so the usual rights less umask apply.
#[cfg(unix)]
fn readable<'a, 'p, 's>(builder: &'a mut tempfile::Builder<'p, 's>, mode: u32) -> &'a mut tempfile::Builder<'p, 's> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn readable<'a, 'p, 's>(builder: &'a mut tempfile::Builder<'p, 's>, _mode: u32) -> &'a mut tempfile::Builder<'p, 's> {
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.gif");
        fs::write(&path, "old").unwrap();
        let error = write_file(&path, |writer| {
            writer.write_all(&vec![0; 1 << 16]).unwrap();
            Err(MediaError::write(&path)(io::ErrorKind::StorageFull.into()))
        })
        .unwrap_err();
        assert!(matches!(error, MediaError::Write { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(entries(folder.path()), ["out.gif"]);
    }

    #[test]
    fn a_failing_folder_leaves_the_old_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write_folder(&path, |to| fs::write(to.join("frame_0000.png"), "old").map_err(MediaError::write(to))).unwrap();
        let fill = |to: &Path| {
            fs::write(to.join("frame_0000.png"), "new").unwrap();
            Err(MediaError::write(to)(io::ErrorKind::StorageFull.into()))
        };
        write_folder(&path, fill).unwrap_err();
        assert_eq!(fs::read(path.join("frame_0000.png")).unwrap(), b"old");
        assert_eq!(entries(folder.path()), ["out"]);
        write_folder(&path, |to| fs::write(to.join("frame_0001.png"), "new").map_err(MediaError::write(to))).unwrap();
        assert_eq!(entries(&path), ["frame_0001.png"]);
        assert_eq!(entries(folder.path()), ["out"]);
    }

    #[cfg(unix)]
    #[test]
    fn new_files_have_the_usual_rights() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, usual) = (folder.path().join("ours"), folder.path().join("usual"));
        write_file(&ours, |_| Ok(())).unwrap();
        fs::write(&usual, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }
}
