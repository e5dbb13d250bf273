package dev.forkd.vmm.qemu;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Threads;
import dev.forkd.linux.Children;
import dev.forkd.linux.ProcessIdentity;
import dev.forkd.vmm.VmExit;
import dev.forkd.vmm.VmName;
import dev.forkd.vmm.VmProcess;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Pattern;

/** A QEMU process, started by us or adopted. */
record QemuProcess(
    VmProcess identity, ProcessHandle handle, QemuConsole console, CompletableFuture<VmExit> exit) {

  /** Between the end of its monitor's connection and its own, when it ends. */
  private static final Duration END_PATIENCE = Duration.ofSeconds(2);

  /** How much of QEMU's own messages goes into an error. */
  private static final int LOG_TAIL_CHARS = 2000;

  /** EAGAIN, ENOMEM, ENFILE, EMFILE, ENOSPC; for a file the JDK gives only the system's words. */
  private static final Pattern EXHAUSTED =
      Pattern.compile(
          "error: (?:11|12|23|24|28)\\b|Too many open files|No space left|Cannot allocate memory");

  /**
   * Starts one.
   *
   * @param memory becomes its standard input
   * @param consoleOnStdout follow standard output as the guest's console; otherwise it joins the
   *     log
   */
  static QemuProcess start(
      QemuInstallation qemu,
      VmName name,
      List<String> command,
      Path memory,
      boolean consoleOnStdout) {
    File log = name.log().toFile();
    ProcessBuilder builder =
        new ProcessBuilder(command)
            .redirectInput(memory.toFile())
            .redirectError(ProcessBuilder.Redirect.appendTo(log));
    if (!consoleOnStdout) {
      builder.redirectOutput(ProcessBuilder.Redirect.appendTo(log));
    }
    builder.environment().putAll(qemu.environment());
    try {
      Process process = builder.start();
      QemuConsole console = new QemuConsole();
      if (consoleOnStdout) {
        console.follow(name.id(), process.getInputStream());
      }
      return of(name, process.toHandle(), console, process);
    } catch (IOException e) {
      throw notStarted(name, command.getFirst(), e);
    }
  }

  /** QEMU's own absence would be seen only when this program has started. */
  static ForkdException notStarted(VmName name, String program, IOException why) {
    String what =
        "cannot start '" + program + "' to run QEMU for " + name.id() + ": " + why.getMessage();
    if (!QemuInstallation.isThere(program)) {
      return new ForkdException(
          ErrorCode.FAILED_PRECONDITION,
          what + ". Install it (Debian: apt-get install util-linux), then try again",
          why);
    }
    if (EXHAUSTED.matcher(String.valueOf(why.getMessage())).find()) {
      return new ForkdException(
          ErrorCode.RESOURCE_EXHAUSTED,
          what
              + ". Kill sandboxes, or raise what the daemon may use (processes: ulimit -u, open"
              + " files: ulimit -n, memory, disk), then try again",
          why);
    }
    return new ForkdException(
        ErrorCode.INTERNAL,
        what + ". Check that the daemon can write to " + name.runtimeDir(),
        why);
  }

  private static QemuProcess of(
      VmName name, ProcessHandle handle, QemuConsole console, Process process) {
    VmProcess identity =
        new VmProcess(Math.toIntExact(handle.pid()), ProcessIdentity.of(handle.pid()).startTicks());
    CompletableFuture<VmExit> exit =
        process
            .onExit()
            .thenApply(ended ->
                new VmExit("QEMU ended with status " + ended.exitValue() + logTail(name, ": ")));
    return new QemuProcess(identity, handle, console, exit);
  }

  /** Takes over one that another process started. */
  static QemuProcess adopt(VmName name, VmProcess identity) {
    ProcessHandle handle =
        ProcessHandle.of(identity.pid())
            .filter(ProcessHandle::isAlive)
            .filter(found -> new ProcessIdentity(identity.pid(), identity.startTicks()).isAlive())
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.NOT_FOUND,
                    "process " + identity.pid() + " of " + name.id() + " is gone"));
    CompletableFuture<VmExit> exit =
        handle.onExit().thenApply(ended -> new VmExit("QEMU ended" + logTail(name, ": ")));
    return new QemuProcess(identity, handle, new QemuConsole(), exit);
  }

  /**
   * Notices the end of an adopted one at once, when something tells that it may have come. The JDK
   * looks at a process that is no child of ours every few seconds only, and whoever was cut off
   * from it is told why before that.
   */
  void lookForEnd(VmName name) {
    Threads.virtual(
        "exit-" + identity.pid(),
        () -> {
          try {
            if (new ProcessIdentity(identity.pid(), identity.startTicks()).awaitEnd(END_PATIENCE)) {
              exit.complete(new VmExit("QEMU ended" + logTail(name, ": ")));
            }
          } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
          }
        });
  }

  /** One that came to be as a copy of another: a child of ours that nobody has started. */
  static QemuProcess copied(VmName name, VmProcess identity) {
    ProcessHandle handle =
        ProcessHandle.of(identity.pid())
            .orElseThrow(() ->
                new ForkdException(
                    ErrorCode.UNAVAILABLE, "the copied process of " + name.id() + " has ended"));
    CompletableFuture<VmExit> exit =
        handle
            .onExit()
            .thenApply(ended -> {
              OptionalInt status = Children.reap(identity.pid());
              String how = status.isPresent() ? " with status " + status.getAsInt() : "";
              return new VmExit("QEMU ended" + how + logTail(name, ": "));
            });
    return new QemuProcess(identity, handle, new QemuConsole(), exit);
  }

  /** Of a process that has ended. */
  static void removeLog(VmName name) {
    try {
      Files.deleteIfExists(name.log());
    } catch (IOException e) {
      throw new UncheckedIOException("remove " + name.log(), e);
    }
  }

  /** The end of what QEMU printed, after {@code before}; empty when it printed nothing. */
  static String logTail(VmName name, String before) {
    try {
      String text = Files.readString(name.log(), StandardCharsets.ISO_8859_1).strip();
      String tail = text.substring(Math.max(0, text.length() - LOG_TAIL_CHARS));
      return tail.isEmpty() ? "" : before + tail;
    } catch (IOException e) {
      return "";
    }
  }
}
