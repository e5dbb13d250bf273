package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.nio.file.Path;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;
import org.sqlite.SQLiteException;

/** What SQLite's failures mean for us, in one place. */
final class SqliteErrors {
  /** Primary result codes are the low byte of the extended ones. */
  private static final int PRIMARY = 0xff;

  private SqliteErrors() {}

  static ForkdException translate(Path file, SQLException e) {
    int code = e instanceof SQLiteException sqlite ? sqlite.getResultCode().code : e.getErrorCode();
    return switch (code & PRIMARY) {
      case 11, 26 -> damaged(file, String.valueOf(e.getMessage()), e); // CORRUPT, NOTADB
      case 13 -> // FULL
          new ForkdException(
              ErrorCode.RESOURCE_EXHAUSTED,
              "state database " + file + " cannot grow: its disk is full; free some space",
              e);
      case 5, 6 -> // BUSY, LOCKED
          new ForkdException(
              ErrorCode.UNAVAILABLE,
              "state database "
                  + file
                  + " is locked by another program; close what has it open and try again",
              e);
      case 8, 14 -> // READONLY, CANTOPEN
          new ForkdException(
              ErrorCode.PERMISSION_DENIED,
              "state database "
                  + file
                  + " cannot be opened for writing; check owner and mode of it and its folder",
              e);
      case 10 -> // IOERR
          new ForkdException(
              ErrorCode.UNAVAILABLE,
              "state database " + file + ": input/output error; check the disk (" + e + ")",
              e);
      default -> new ForkdException(ErrorCode.INTERNAL, "state database " + file + ": " + e, e);
    };
  }

  static ForkdException damaged(Path file, String finding, @Nullable Throwable e) {
    return new ForkdException(
        ErrorCode.DATA_LOSS,
        "state database "
            + file
            + " is damaged ("
            + finding
            + "); forkd does not guess what it held: put back a copy of it, or move it away"
            + " together with its -wal and -shm files, which starts an empty one",
        e);
  }
}
