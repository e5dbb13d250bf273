package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessResult;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/** Makes and checks ext4 images in files, without mounting anything. */
final class Ext4 {
  /**
   * All features by name, so that the image does not depend on the host's mke2fs.conf. No journal:
   * a guest that loses power is thrown away. No checksums: each costs the guest CPU, and the bytes
   * never leave this host's disk.
   */
  private static final String FEATURES =
      "none,sparse_super,large_file,filetype,dir_index,ext_attr,extent,huge_file,flex_bg,64bit,"
          + "dir_nlink,extra_isize";

  private static final Duration TIMEOUT = Duration.ofMinutes(10);
  private static final int SUPERBLOCK_OFFSET = 1024;
  private static final int MAGIC_OFFSET = SUPERBLOCK_OFFSET + 56;
  private static final int MAGIC = 0xef53;
  private static final long MIB = 1024 * 1024;

  private Ext4() {}

  /** The command that makes {@code image}, of {@code sizeMib}, from what is in {@code tree}. */
  static List<String> makeCommand(Path tree, Path image, int sizeMib) {
    return List.of(
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        FEATURES,
        "-b",
        "4096",
        "-I",
        "256",
        "-m",
        "0",
        "-L",
        "forkd-root",
        "-E",
        // A new file reads as zeros: writing them would only fill its holes, and leaving them to
        // the guest would keep it busy after boot.
        "lazy_itable_init=0,assume_storage_prezeroed=1",
        "-d",
        tree.toString(),
        image.toString(),
        sizeMib + "M");
  }

  /** Throws INVALID_ARGUMENT unless {@code file} begins like an ext2, ext3 or ext4 file system. */
  static void require(Path file) throws IOException {
    boolean valid = false;
    if (Files.isRegularFile(file) && Files.size(file) >= MIB) {
      try (RandomAccessFile in = new RandomAccessFile(file.toFile(), "r")) {
        in.seek(MAGIC_OFFSET);
        valid = (in.read() | in.read() << 8) == MAGIC;
      }
    }
    if (!valid) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "'"
              + file
              + "' is not a raw ext4 image; pass a file system without a partition table, such as"
              + " 'mke2fs -t ext4 -d FOLDER FILE SIZE' makes");
    }
  }

  /** Grows the file system in {@code image} to {@code sizeMib}; never shrinks it. */
  static void grow(Path image, int sizeMib) throws IOException {
    if (Files.size(image) >= sizeMib * MIB) {
      return;
    }
    List<String> check = new ArrayList<>(List.of("e2fsck", "-f", "-p", image.toString()));
    ProcessResult checked = ProcessRunner.run(Command.of(check).timeout(TIMEOUT));
    // 1 says that something was repaired, such as a journal replayed.
    if (checked.exitStatus() > 1) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "the file system in the root image is damaged beyond what 'e2fsck -p' repairs: "
              + (checked.stdout() + checked.stderr()).strip()
              + "; repair it with e2fsck first");
    }
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "rw")) {
      file.setLength(sizeMib * MIB);
    }
    ProcessRunner.check(Command.of("resize2fs", image.toString()).timeout(TIMEOUT));
  }
}
