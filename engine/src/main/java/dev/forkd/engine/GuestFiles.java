package dev.forkd.engine;

import java.io.InputStream;
import java.io.OutputStream;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Consumer;

/** A guest's files. Paths are absolute. A missing file is NOT_FOUND. */
public interface GuestFiles {
  /** Copies the file's bytes to {@code sink}; returns how many. */
  default long read(String path, OutputStream sink) {
    return read(path, Range.WHOLE, sink);
  }

  /**
   * Copies some of the file's bytes to {@code sink}; returns how many.
   *
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it is a folder
   */
  long read(String path, Range range, OutputStream sink);

  /**
   * Bytes of a file.
   *
   * @param offset of the first
   * @param lengthBytes at most so many; {@link Long#MAX_VALUE} for all that follow
   */
  record Range(long offset, long lengthBytes) {
    public static final Range WHOLE = new Range(0, Long.MAX_VALUE);
  }

  /**
   * Writes a file from {@code source} to its end, making parent folders; replaces it atomically.
   */
  default long write(String path, InputStream source, OptionalInt mode, Optional<String> user) {
    return write(path, source, new WriteSpec(mode, user, Optional.empty(), false));
  }

  /** The same, with what else is wanted. */
  long write(String path, InputStream source, WriteSpec spec);

  /**
   * How a file is written.
   *
   * @param mode permission bits; those of the file that is replaced, or 0644, when empty
   * @param user who owns it, and the parent folders that are made; likewise, or root
   * @param metadata takes the place of all extended attributes {@code user.e2b.*}; empty leaves
   *     those of a replaced file away too, as a new file has none
   * @param inPlace the file that is there is emptied and written, as an editor would: it stays the
   *     same file for those who watch it or have it open, and a failure leaves it half written
   */
  record WriteSpec(
      OptionalInt mode,
      Optional<String> user,
      Optional<Map<String, String>> metadata,
      boolean inPlace) {}

  /** The entry itself: a symbolic link is not followed. */
  Entry stat(String path);

  /** What the path leads to, through symbolic links; of a broken link, the link. */
  Entry follow(String path);

  /**
   * Tells the entries of a folder, in no order. They are told as they come, however many there are;
   * none is kept here.
   *
   * @param sink hears each, on the calling thread; it may be slow, and what it throws ends the list
   */
  void list(String path, Consumer<Entry> sink);

  /**
   * Tells the entries below a folder in the same way, down to so many levels, in lexical pre-order,
   * each followed through symbolic links as by {@link #follow}; links to folders are not descended
   * into.
   *
   * @param depth 1 for the folder's own entries; at most 1024
   * @throws dev.forkd.api.ForkdException FAILED_PRECONDITION when it is no folder or a link that
   *     leads in circles
   */
  void tree(String path, int depth, Consumer<Entry> sink);

  /** Makes a folder with its parents; no error if it is there. */
  default void makeDirectory(String path) {
    makeDirectory(path, Optional.empty());
  }

  /**
   * Makes a folder with its parents.
   *
   * @param user who owns what is made; root when empty
   * @return whether it was made; false when it was there
   */
  boolean makeDirectory(String path, Optional<String> user);

  void move(String from, String to);

  /** Removes a file, or a folder with all in it. */
  void remove(String path);

  /**
   * Watches a folder.
   *
   * @param recursive all folders below it too, also those that are made later
   * @param entries tell with each change what is there
   */
  GuestWatch.Handle watch(String path, boolean recursive, boolean entries, GuestWatch listener);

  /**
   * A user of the guest.
   *
   * @param user name or uid
   * @throws dev.forkd.api.ForkdException NOT_FOUND when the guest has none
   */
  GuestAccount account(String user);

  /**
   * One directory entry.
   *
   * @param type {@code file}, {@code directory}, {@code symlink} or {@code other}
   * @param mode permission bits
   * @param owner name of the owner, or the uid in digits
   * @param group likewise
   * @param target of a symbolic link that was followed: where it leads, fully resolved
   * @param metadata extended attributes {@code user.e2b.*}, without that prefix; only where the
   *     entry was followed
   */
  record Entry(
      String path,
      String type,
      long sizeBytes,
      int mode,
      int uid,
      int gid,
      long modifiedUnixMillis,
      String owner,
      String group,
      Optional<String> target,
      Map<String, String> metadata) {
    public Entry {
      metadata = Map.copyOf(metadata);
    }
  }
}
