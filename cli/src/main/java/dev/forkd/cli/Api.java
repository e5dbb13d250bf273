package dev.forkd.cli;

import dev.forkd.api.rest.BranchRequest;
import dev.forkd.api.rest.ChildResult;
import dev.forkd.api.rest.CreateSandboxes;
import dev.forkd.api.rest.CreateTemplate;
import dev.forkd.api.rest.EvalResponse;
import dev.forkd.api.rest.ExecRequest;
import dev.forkd.api.rest.FileEntry;
import dev.forkd.api.rest.SandboxInfo;
import dev.forkd.api.rest.SnapshotInfo;
import java.io.InputStream;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.function.Consumer;

/**
 * What the commands ask of a daemon. Every method blocks until it is done and throws {@link
 * dev.forkd.api.ForkdException} with the daemon's own words.
 */
interface Api {
  List<SnapshotInfo> snapshots();

  SnapshotInfo snapshot(String tag);

  /** Builds a template; {@code progress} hears one line per step. */
  SnapshotInfo bake(CreateTemplate recipe, Consumer<String> progress);

  void deleteSnapshot(String tag, boolean cascade, boolean force);

  List<ChildResult> fork(CreateSandboxes request);

  List<SandboxInfo> sandboxes();

  SandboxInfo sandbox(String id);

  void kill(String id);

  SnapshotInfo branch(String id, BranchRequest request);

  EvalResponse eval(String id, String code, Duration timeout);

  /**
   * Runs a command; what it prints is handed on as it comes.
   *
   * @param stdin copied to the command when the request is interactive
   * @return its status, 128 plus the signal that ended it, or 124 when its time was up
   */
  int exec(String id, ExecRequest request, InputStream stdin, ExecOutput output);

  FileEntry stat(String id, String path);

  List<FileEntry> list(String id, String path);

  /** Copies a guest's file to {@code to}, which is replaced. Returns its bytes. */
  long download(String id, String path, Path to);

  /** Copies a file into a guest; folders above it are made. Returns its bytes. */
  long upload(String id, Path from, String path);

  void makeDirectory(String id, String path);

  /** Hears what a command prints. */
  interface ExecOutput {
    void stdout(byte[] bytes);

    void stderr(byte[] bytes);
  }
}
