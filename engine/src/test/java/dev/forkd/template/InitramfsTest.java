package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;

import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.commons.compress.archivers.cpio.CpioArchiveEntry;
import org.apache.commons.compress.archivers.cpio.CpioArchiveInputStream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What is in a guest's first archive, as another program and as the kernel's format see it. */
class InitramfsTest {
  private static final List<KernelModule> MODULES =
      List.of(
          new KernelModule("virtio.ko", new byte[] {1, 2, 3}),
          new KernelModule("virtio_blk.ko", new byte[70_001]));

  @TempDir Path folder;

  @Test
  void holdsAgentEvaluatorModulesInOrderAndConsole() throws Exception {
    Map<String, byte[]> contents = new LinkedHashMap<>();
    Map<String, CpioArchiveEntry> entries = new LinkedHashMap<>();
    byte[] archive = Initramfs.assemble(bytes("agent"), bytes("print()"), MODULES);
    try (CpioArchiveInputStream in =
        new CpioArchiveInputStream(new ByteArrayInputStream(archive))) {
      for (CpioArchiveEntry e = in.getNextEntry(); e != null; e = in.getNextEntry()) {
        entries.put(e.getName(), e);
        contents.put(e.getName(), in.readAllBytes());
      }
    }
    assertThat(contents.get("init")).isEqualTo(bytes("agent"));
    assertThat(entries.get("init").getMode()).isEqualTo(0100755);
    assertThat(contents.get("evaluator.py")).isEqualTo(bytes("print()"));
    assertThat(contents.get("modules/order")).isEqualTo(bytes("virtio.ko\nvirtio_blk.ko\n"));
    assertThat(contents.get("modules/virtio_blk.ko")).hasSize(70_001);
    assertThat(entries.get("dev/console").isCharacterDevice()).isTrue();
    assertThat(entries.get("dev/console").getRemoteDeviceMaj()).isEqualTo(5);
    assertThat(entries.get("dev/console").getRemoteDeviceMin()).isEqualTo(1);
    assertThat(new ArrayList<>(entries.keySet()).indexOf("modules"))
        .as("a folder comes before what is in it")
        .isLessThan(new ArrayList<>(entries.keySet()).indexOf("modules/virtio.ko"));
    assertThat(entries.values()).allSatisfy(e -> assertThat(e.getTime()).isZero());
    assertThat(entries.values().stream().map(CpioArchiveEntry::getInode)).doesNotHaveDuplicates();
  }

  @Test
  void cpioReadsIt() throws Exception {
    Assumptions.assumeTrue(
        dev.forkd.process.Programs.find("cpio").isPresent(), "no cpio on this host");
    Path file = folder.resolve("a.cpio");
    Files.write(file, Initramfs.assemble(bytes("agent"), bytes("x"), MODULES));
    String listing =
        ProcessRunner.check(Command.of("sh", "-c", "exec cpio -tv < '" + file + "'")).stdout();
    assertThat(listing.lines())
        .anySatisfy(line -> assertThat(line).matches("-rwxr-xr-x .* 5 .* init"))
        .anySatisfy(line -> assertThat(line).matches("crw------- .* 5, +1 .* dev/console"))
        .anySatisfy(
            line -> assertThat(line).matches("-rw-r--r-- .* 70001 .* modules/virtio_blk.ko"))
        .anySatisfy(line -> assertThat(line).matches("drwxr-xr-x .* proc"));
  }

  @Test
  void theSamePartsGiveTheSameFileAndOthersAnother() throws Exception {
    Path agent = Files.write(folder.resolve("agent"), bytes("agent"));
    Path evaluator = Files.write(folder.resolve("evaluator"), bytes("x"));
    AgentBinary.Built built = new AgentBinary.Built(agent, evaluator, "hash");
    Initramfs initramfs = new Initramfs(folder.resolve("out"));
    Path first = initramfs.build(built, MODULES);
    byte[] content = Files.readAllBytes(first);
    assertThat(initramfs.build(built, MODULES)).isEqualTo(first);
    assertThat(Files.readAllBytes(first)).isEqualTo(content);
    Files.write(agent, bytes("another"));
    assertThat(initramfs.build(built, MODULES)).isNotEqualTo(first);
    assertThat(folder.resolve("out").toFile().list()).hasSize(2);
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
