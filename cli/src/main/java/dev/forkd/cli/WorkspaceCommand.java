package dev.forkd.cli;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.rest.WorkspaceInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Sandbox;
import dev.forkd.sdk.Workspace;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Named sandboxes that are put away and taken up again. */
@Command(
    name = "workspace",
    description = "named sandboxes that can be suspended and resumed",
    mixinStandardHelpOptions = true,
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {
      WorkspaceCommand.Create.class,
      WorkspaceCommand.Ls.class,
      WorkspaceCommand.Show.class,
      WorkspaceCommand.Suspend.class,
      WorkspaceCommand.Resume.class,
      WorkspaceCommand.Rm.class,
      WorkspaceCommand.Exec.class,
      WorkspaceCommand.Eval.class
    })
final class WorkspaceCommand implements Runnable {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public void run() {
    throw new CommandLine.ParameterException(
        spec.commandLine(),
        "which of " + String.join(", ", spec.commandLine().getSubcommands().keySet()) + "?");
  }

  /** What is done to or asked about one workspace. */
  abstract static class OfOne extends DaemonCommand {
    @Parameters(index = "0", paramLabel = "NAME", description = "the workspace")
    private String name;

    @Option(names = "--json", description = "print the workspace as JSON")
    private boolean json;

    final String name() {
      return name;
    }

    /**
     * Prints the workspace, or its sandbox or state for scripts and what was done for people.
     *
     * @param done as a participle
     */
    final int print(WorkspaceInfo workspace, String done) {
      if (json) {
        printJson(workspace);
        return 0;
      }
      workspace.liveSandboxId().or(workspace::currentStateTag).ifPresent(out()::println);
      err().println("✓ workspace " + workspace.name() + " " + done);
      return 0;
    }

    final boolean json() {
      return json;
    }
  }

  /** Makes one. */
  @Command(name = "create", description = "fork a sandbox and give it a name")
  static final class Create extends OfOne {
    @Option(
        names = {"--from", "--snapshot"},
        paramLabel = "TAG",
        required = true,
        description = "the template or snapshot to fork from")
    private String tag = "";

    @Option(
        names = "--memory-limit-mib",
        paramLabel = "MIB",
        description = "most host memory its sandbox may take")
    private long memoryLimitMib;

    @Override
    int run(Forkd forkd) {
      OptionalLong limit =
          memoryLimitMib == 0 ? OptionalLong.empty() : OptionalLong.of(memoryLimitMib);
      return print(forkd.createWorkspace(name(), tag, limit).info(), "created");
    }
  }

  /** All of them. */
  @Command(name = "ls", aliases = "list", description = "list the workspaces")
  static final class Ls extends DaemonCommand {
    @Option(names = "--json", description = "print them as JSON")
    private boolean json;

    @Override
    int run(Forkd forkd) {
      List<WorkspaceInfo> workspaces = forkd.workspaces().stream().map(Workspace::info).toList();
      if (json) {
        printJson(workspaces);
      } else {
        out().print(render(workspaces, Instant.now().getEpochSecond()));
      }
      return 0;
    }
  }

  /** One of them. */
  @Command(name = "show", description = "show one workspace")
  static final class Show extends OfOne {
    @Override
    int run(Forkd forkd) {
      WorkspaceInfo workspace = forkd.workspace(name()).info();
      if (json()) {
        printJson(workspace);
      } else {
        out().print(render(workspace));
      }
      return 0;
    }
  }

  /** Puts one away. */
  @Command(name = "suspend", description = "save a workspace's sandbox and end it")
  static final class Suspend extends OfOne {
    @Option(
        names = "--diff",
        description = "store only the memory that diverged, not all of it: quicker and smaller")
    private boolean diff;

    @Override
    int run(Forkd forkd) {
      Workspace workspace = forkd.workspace(name());
      return print((diff ? workspace.suspendDiff() : workspace.suspend()).info(), "suspended");
    }
  }

  /** Takes one up again. */
  @Command(name = "resume", description = "go on with a workspace where it was suspended")
  static final class Resume extends OfOne {
    @Override
    int run(Forkd forkd) {
      return print(forkd.workspace(name()).resume().info(), "resumed");
    }
  }

  /** Removes some. */
  @Command(
      name = "rm",
      aliases = "delete",
      description = "end workspaces and remove what they were saved as; never what they came from")
  static final class Rm extends DaemonCommand {
    @Parameters(arity = "1..*", paramLabel = "NAME", description = "which")
    private List<String> names;

    @Override
    int run(Forkd forkd) {
      int status = 0;
      for (String name : names) {
        try {
          Workspace workspace = forkd.workspace(name);
          workspace.delete();
          out().println("✓ " + name);
          workspace.info().currentStateTag().ifPresent(tag -> warnIfKept(forkd, tag));
        } catch (ForkdException e) {
          err().println("✗ " + name + ": " + e.message());
          status = Main.FAILURE;
        }
      }
      return status;
    }

    private void warnIfKept(Forkd forkd, String tag) {
      try {
        forkd.snapshot(tag);
        err().println("⚠ snapshot " + tag + " stays: other snapshots name it as their parent");
      } catch (ForkdException e) {
        if (e.code() != ErrorCode.NOT_FOUND) {
          throw e;
        }
      }
    }
  }

  /** Runs a command in the sandbox it has now. */
  @Command(
      name = "exec",
      description = "run a command in a workspace; exits with the command's status")
  static final class Exec extends GuestExec {
    @Parameters(index = "0", paramLabel = "NAME", description = "the workspace")
    private String name;

    @Override
    Sandbox sandbox(Forkd forkd) {
      return forkd.workspace(name).sandbox();
    }
  }

  /** Evaluates code in the sandbox it has now. */
  @Command(name = "eval", description = "evaluate code in a workspace's warm interpreter")
  static final class Eval extends GuestEval {
    @Parameters(index = "0", paramLabel = "NAME", description = "the workspace")
    private String name;

    @Override
    Sandbox sandbox(Forkd forkd) {
      return forkd.workspace(name).sandbox();
    }
  }

  static String render(List<WorkspaceInfo> workspaces, long nowUnix) {
    Table table = new Table("NAME", "STATUS", "SOURCE", "STATE", "SANDBOX", "ACTIVE");
    for (WorkspaceInfo workspace : workspaces) {
      table.row(
          workspace.name(),
          workspace.status(),
          workspace.sourceSnapshotTag(),
          workspace.currentStateTag().orElse("-"),
          workspace.liveSandboxId().orElse("-"),
          Format.age(workspace.lastActiveUnix(), nowUnix));
    }
    return table.render();
  }

  static String render(WorkspaceInfo workspace) {
    Map<String, String> lines = new LinkedHashMap<>();
    lines.put("name", workspace.name());
    lines.put("id", workspace.id());
    lines.put("status", workspace.status());
    lines.put("source", workspace.sourceSnapshotTag());
    workspace.currentStateTag().ifPresent(tag -> lines.put("state", tag));
    workspace.liveSandboxId().ifPresent(id -> lines.put("sandbox", id));
    workspace.memoryLimitMib().ifPresent(mib -> lines.put("memory limit", mib + " MiB"));
    lines.put("created", Instant.ofEpochSecond(workspace.createdAtUnix()).toString());
    lines.put("last active", Instant.ofEpochSecond(workspace.lastActiveUnix()).toString());
    StringBuilder text = new StringBuilder();
    lines.forEach((key, value) -> text.append(String.format("%-20s%s%n", key, value)));
    return text.toString();
  }
}
