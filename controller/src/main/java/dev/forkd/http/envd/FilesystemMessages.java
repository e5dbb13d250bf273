package dev.forkd.http.envd;

import com.fasterxml.jackson.annotation.JsonAlias;
import dev.forkd.engine.GuestFiles.Entry;
import dev.forkd.engine.GuestWatch;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** The messages of {@code filesystem.Filesystem}, as named on the wire. */
final class FilesystemMessages {
  private static final int SET_UID = 04000;
  private static final int SET_GID = 02000;
  private static final int STICKY = 01000;
  private static final int PERMISSIONS = 0777;

  private FilesystemMessages() {}

  record PathRequest(String path) {
    PathRequest {
      path = path == null ? "" : path;
    }
  }

  record ListRequest(String path, int depth) {
    ListRequest {
      path = path == null ? "" : path;
    }
  }

  record MoveRequest(String source, String destination) {
    MoveRequest {
      source = source == null ? "" : source;
      destination = destination == null ? "" : destination;
    }
  }

  record WatchRequest(
      String path,
      boolean recursive,
      @JsonAlias("include_entry") boolean includeEntry,
      @JsonAlias("allow_network_mounts") boolean allowNetworkMounts) {
    WatchRequest {
      path = path == null ? "" : path;
    }
  }

  record WatcherRequest(@JsonAlias("watcher_id") String watcherId) {
    WatcherRequest {
      watcherId = watcherId == null ? "" : watcherId;
    }
  }

  record Empty() {}

  /**
   * What is at a path.
   *
   * @param size 64 bits, so in text
   * @param permissions as {@code ls} shows them, but with the letters of Go: {@code L} for a link
   */
  record EntryInfo(
      String name,
      String type,
      String path,
      String size,
      int mode,
      String permissions,
      String owner,
      String group,
      String modifiedTime,
      Optional<String> symlinkTarget,
      Optional<Map<String, String>> metadata) {

    /** Of an entry that was followed: of a link, what it leads to is told. */
    static EntryInfo of(Entry entry) {
      return new EntryInfo(
          FilesystemMessages.name(entry.path()),
          switch (entry.type()) {
            case "file" -> "FILE_TYPE_FILE";
            case "directory" -> "FILE_TYPE_DIRECTORY";
            // A link that was followed and is one still leads nowhere.
            default -> "FILE_TYPE_UNSPECIFIED";
          },
          entry.path(),
          Long.toString(entry.sizeBytes()),
          entry.mode() & PERMISSIONS,
          FilesystemMessages.permissions(entry),
          entry.owner(),
          entry.group(),
          Instant.ofEpochMilli(entry.modifiedUnixMillis()).toString(),
          entry.target(),
          entry.metadata().isEmpty() ? Optional.empty() : Optional.of(entry.metadata()));
    }
  }

  /** The last part of an absolute path. */
  static String name(String path) {
    return path.equals("/") ? path : path.substring(path.lastIndexOf('/') + 1);
  }

  private static String permissions(Entry entry) {
    if (entry.target().isPresent() || entry.type().equals("symlink")) {
      return "Lrwxrwxrwx"; // Those of the link itself, which on Linux are always the same.
    }
    StringBuilder text = new StringBuilder();
    if (entry.type().equals("directory")) {
      text.append('d');
    }
    if ((entry.mode() & SET_UID) != 0) {
      text.append('u');
    }
    if ((entry.mode() & SET_GID) != 0) {
      text.append('g');
    }
    if ((entry.mode() & STICKY) != 0) {
      text.append('t');
    }
    if (text.isEmpty()) {
      text.append('-');
    }
    for (int bit = 8; bit >= 0; bit--) {
      text.append((entry.mode() >> bit & 1) == 0 ? '-' : "xwr".charAt(bit % 3));
    }
    return text.toString();
  }

  record EntryReply(EntryInfo entry) {}

  record ChangeEvent(String name, String type, Optional<EntryInfo> entry) {
    static ChangeEvent of(GuestWatch.Change change) {
      String type =
          switch (change.kind()) {
            case CREATED -> "EVENT_TYPE_CREATE";
            case WRITTEN -> "EVENT_TYPE_WRITE";
            case REMOVED -> "EVENT_TYPE_REMOVE";
            case RENAMED -> "EVENT_TYPE_RENAME";
            case MODE_CHANGED -> "EVENT_TYPE_CHMOD";
          };
      return new ChangeEvent(change.name(), type, change.entry().map(EntryInfo::of));
    }
  }

  /** One of the three. */
  record WatchReply(
      Optional<Empty> start, Optional<ChangeEvent> filesystem, Optional<Empty> keepalive) {
    static WatchReply started() {
      return new WatchReply(Optional.of(new Empty()), Optional.empty(), Optional.empty());
    }

    static WatchReply of(ChangeEvent change) {
      return new WatchReply(Optional.empty(), Optional.of(change), Optional.empty());
    }

    static WatchReply keepAlive() {
      return new WatchReply(Optional.empty(), Optional.empty(), Optional.of(new Empty()));
    }
  }

  record WatcherReply(String watcherId) {}

  record EventsReply(List<ChangeEvent> events) {}
}
