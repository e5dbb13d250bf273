package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.SandboxId;
import dev.forkd.api.rest.FileEntry;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.SandboxFiles;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Copies files and folders between this host and a sandbox. */
@Command(
    name = "cp",
    description = {
      "copy files and folders into or out of a sandbox",
      "  forkd cp data.csv ID:/root/     forkd cp ID:/root/out.csv ."
    })
final class CpCommand extends DaemonCommand {
  private static final int DEEPEST = 64;

  @Parameters(index = "0", paramLabel = "FROM", description = "PATH or ID:PATH")
  private String from;

  @Parameters(index = "1", paramLabel = "TO", description = "PATH or ID:PATH")
  private String to;

  @Option(names = "--json", description = "print how much was copied as JSON")
  private boolean json;

  private long files;
  private long bytes;
  private Optional<SandboxFiles> opened = Optional.empty();

  /** What {@code --json} prints. */
  record Copied(long files, long bytes) {}

  /** A path in a sandbox. */
  record Remote(String id, String path) {
    /**
     * Empty when the text names a path on this host: no id before a colon, or a slash before it.
     */
    static Optional<Remote> parse(String text) {
      int colon = text.indexOf(':');
      if (colon < 0 || !SandboxId.isLegal(text.substring(0, colon))) {
        return Optional.empty();
      }
      return Optional.of(new Remote(text.substring(0, colon), text.substring(colon + 1)));
    }

    Remote child(String name) {
      return new Remote(id, path.endsWith("/") ? path + name : path + "/" + name);
    }

    String name() {
      String bare = path.endsWith("/") ? path.substring(0, path.length() - 1) : path;
      return bare.substring(bare.lastIndexOf('/') + 1);
    }
  }

  @Override
  int run(Forkd forkd) throws IOException {
    Optional<Remote> source = Remote.parse(from);
    Optional<Remote> target = Remote.parse(to);
    if (source.isPresent() == target.isPresent()) {
      throw usage("exactly one of FROM and TO must be ID:PATH");
    }
    for (Remote remote : Stream.concat(source.stream(), target.stream()).toList()) {
      if (!remote.path().startsWith("/")) {
        throw usage("a sandbox's path begins with a slash: '" + remote.path() + "'");
      }
    }
    if (source.isPresent()) {
      Path local = Path.of(to);
      Path into = Files.isDirectory(local) ? local.resolve(source.get().name()) : local;
      download(forkd, source.get(), into, 0);
    } else {
      Path local = Path.of(from);
      Remote remote = target.orElseThrow();
      boolean folder = remote.path().endsWith("/") || isFolder(forkd, remote);
      upload(forkd, local, folder ? remote.child(name(local)) : remote, 0);
    }
    if (json) {
      printJson(new Copied(files, bytes));
    } else {
      err().println("✓ " + files + (files == 1 ? " file, " : " files, ") + Format.bytes(bytes));
    }
    return 0;
  }

  private void upload(Forkd forkd, Path local, Remote remote, int depth) throws IOException {
    if (Files.isDirectory(local)) {
      checkDepth(depth, local.toString());
      files(forkd, remote).makeDirectory(remote.path());
      List<Path> inside;
      try (Stream<Path> listing = Files.list(local)) {
        inside = listing.sorted().toList();
      }
      for (Path each : inside) {
        upload(forkd, each, remote.child(name(each)), depth + 1);
      }
      return;
    }
    if (!Files.isReadable(local)) {
      throw new ForkdException(ErrorCode.NOT_FOUND, "cannot read " + local);
    }
    bytes += files(forkd, remote).upload(local, remote.path());
    files++;
  }

  private void download(Forkd forkd, Remote remote, Path local, int depth) throws IOException {
    FileEntry entry = files(forkd, remote).stat(remote.path());
    if (entry.type().equals("directory")) {
      checkDepth(depth, remote.path());
      Files.createDirectories(local);
      for (FileEntry inside : files(forkd, remote).list(remote.path())) {
        String name = inside.path().substring(inside.path().lastIndexOf('/') + 1);
        // The guest is not trusted: a listing must not lead out of the folder.
        if (name.isEmpty() || name.equals(".") || name.equals("..") || name.indexOf('\0') >= 0) {
          throw new ForkdException(
              ErrorCode.INVALID_ARGUMENT, "the guest lists a file named '" + name + "'");
        }
        download(forkd, remote.child(name), local.resolve(name), depth + 1);
      }
      return;
    }
    if (Files.isSymbolicLink(local)) {
      Files.delete(local);
    }
    bytes += fetch(files(forkd, remote), remote.path(), local.toAbsolutePath());
    files++;
  }

  /** What is there is replaced only by a whole file. */
  private static long fetch(SandboxFiles guest, String path, Path local) throws IOException {
    Path unfinished = local.resolveSibling("." + local.getFileName() + ".forkd-part");
    try {
      long size;
      try (OutputStream sink = Files.newOutputStream(unfinished)) {
        size = guest.read(path, sink);
      }
      Files.move(unfinished, local, StandardCopyOption.REPLACE_EXISTING);
      return size;
    } finally {
      Files.deleteIfExists(unfinished);
    }
  }

  /** One look-up of the sandbox for the whole copy. */
  private SandboxFiles files(Forkd forkd, Remote remote) {
    SandboxFiles found = opened.orElseGet(() -> forkd.sandbox(remote.id()).files());
    opened = Optional.of(found);
    return found;
  }

  private boolean isFolder(Forkd forkd, Remote remote) {
    try {
      return files(forkd, remote).stat(remote.path()).type().equals("directory");
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return false; // an unknown sandbox is said by the upload that follows
      }
      throw e;
    }
  }

  private static String name(Path path) {
    return path.toAbsolutePath().normalize().getFileName().toString();
  }

  private static void checkDepth(int depth, String where) {
    if (depth > DEEPEST) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "folders nest deeper than " + DEEPEST + " at " + where);
    }
  }
}
