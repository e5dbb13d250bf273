package dev.forkd.engine;

import java.io.InputStream;
import java.io.OutputStream;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;

/** A guest's files. Paths are absolute. A missing file is NOT_FOUND. */
public interface GuestFiles {
  /** Copies the file's bytes to {@code sink}; returns how many. */
  long read(String path, OutputStream sink);

  /**
   * Writes a file from {@code source} to its end, making parent folders; replaces it atomically.
   */
  long write(String path, InputStream source, OptionalInt mode, Optional<String> user);

  Entry stat(String path);

  List<Entry> list(String path);

  void makeDirectory(String path);

  void move(String from, String to);

  /** Removes a file, or a folder with all in it. */
  void remove(String path);

  /**
   * One directory entry.
   *
   * @param type {@code file}, {@code directory}, {@code symlink} or {@code other}
   * @param mode permission bits
   */
  record Entry(
      String path,
      String type,
      long sizeBytes,
      int mode,
      int uid,
      int gid,
      long modifiedUnixMillis) {}
}
