package dev.forkd.template;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessRunner;
import dev.forkd.process.Programs;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** That modules come after what they need, whatever a kernel has built in or compressed. */
class KernelModulesTest {
  @TempDir Path folder;

  @BeforeEach
  void aKernel() throws IOException {
    put("drivers/virtio/virtio.ko", module(""));
    put("drivers/virtio/virtio_ring.ko", module(""));
    put("drivers/virtio/virtio_mmio.ko", module("virtio,virtio_ring"));
    put("drivers/block/virtio_blk.ko", module("virtio,virtio_ring"));
    put("drivers/char/virtio_console.ko", module("virtio_ring,virtio"));
    Files.writeString(folder.resolve("modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
  }

  @Test
  void eachModuleComesOnceAndAfterWhatItNeeds() {
    assertThat(order(KernelModules.REQUIRED))
        .containsExactly(
            "virtio.ko", "virtio_ring.ko", "virtio_mmio.ko", "virtio_console.ko", "virtio_blk.ko");
  }

  @Test
  void aModularFileSystemBringsWhatItNeeds() throws IOException {
    Files.writeString(folder.resolve("modules.builtin"), "");
    put("fs/ext4/ext4.ko", module("jbd2,mbcache,crc16"));
    put("fs/jbd2/jbd2.ko", module(""));
    put("fs/mbcache.ko", module(""));
    put("lib/crc16.ko", module(""));
    assertThat(order(List.of("ext4")))
        .containsExactly("jbd2.ko", "mbcache.ko", "crc16.ko", "ext4.ko");
  }

  @Test
  void dashesAndUnderscoresAreOneName() throws IOException {
    put("lib/a-b.ko", module(""));
    put("lib/c.ko", module("a_b"));
    assertThat(order(List.of("c"))).containsExactly("a_b.ko", "c.ko");
  }

  @Test
  void compressedModulesAreUnpacked() throws IOException {
    for (String tool : List.of("xz", "zstd", "gzip")) {
      Assumptions.assumeTrue(Programs.find(tool).isPresent(), "no " + tool + " on this host");
    }
    byte[] plain = module("virtio");
    for (String tool : List.of("xz", "zstd", "gzip")) {
      Path file = put("x/packed_" + tool + ".ko", plain);
      ProcessRunner.check(Command.of(tool, "-q", file.toString()));
      Files.deleteIfExists(file);
    }
    KernelModules modules = KernelModules.in(folder);
    for (String tool : List.of("xz", "zstd", "gzip")) {
      List<KernelModule> order = modules.loadOrder(List.of("packed_" + tool));
      assertThat(order).extracting(KernelModule::fileName).startsWith("virtio.ko");
      assertThat(order.getLast().content()).isEqualTo(plain);
    }
  }

  @Test
  void aMissingModuleIsNamedWithWhatNeedsIt() throws IOException {
    put("lib/c.ko", module("nowhere"));
    assertThatThrownBy(() -> order(List.of("c")))
        .isInstanceOf(ForkdException.class)
        .hasMessageContaining("'nowhere'")
        .hasMessageContaining("[c]");
  }

  @Test
  void aCircleIsAnErrorNotAHang() throws IOException {
    put("lib/c.ko", module("d"));
    put("lib/d.ko", module("c"));
    assertThatThrownBy(() -> order(List.of("c"))).hasMessageContaining("circle");
  }

  @Test
  void damagedModulesNeverCrashTheReader() {
    long seed = System.nanoTime();
    System.out.println("KernelModulesTest seed " + seed);
    Random random = new Random(seed);
    for (int i = 0; i < 3000; i++) {
      byte[] damaged = module("virtio,virtio_ring");
      int cut = random.nextInt(damaged.length);
      if (random.nextBoolean()) {
        damaged = java.util.Arrays.copyOf(damaged, cut);
      }
      for (int k = random.nextInt(8); k > 0 && damaged.length > 8; k--) {
        damaged[8 + random.nextInt(damaged.length - 8)] = (byte) random.nextInt();
      }
      try {
        assertThat(KernelModules.dependencies(damaged)).isNotNull();
      } catch (IOException expected) {
        assertThat(expected).hasMessageContaining("module");
      }
    }
  }

  private List<String> order(List<String> names) {
    return KernelModules.in(folder).loadOrder(names).stream().map(KernelModule::fileName).toList();
  }

  private Path put(String path, byte[] content) throws IOException {
    Path file = folder.resolve("kernel").resolve(path);
    Files.createDirectories(file.getParent());
    return Files.write(file, content);
  }

  /** A 64-bit ELF file with a section of names and a .modinfo section, and nothing else. */
  private static byte[] module(String depends) {
    byte[] info =
        ("license=GPL\0depends=" + depends + "\0name=x\0").getBytes(StandardCharsets.UTF_8);
    byte[] names = "\0.shstrtab\0.modinfo\0".getBytes(StandardCharsets.UTF_8);
    int namesAt = 64;
    int infoAt = namesAt + names.length;
    int sections = infoAt + info.length;
    ByteBuffer elf = ByteBuffer.allocate(sections + 3 * 64).order(ByteOrder.LITTLE_ENDIAN);
    elf.putInt(0, 0x464c457f).put(4, (byte) 2).put(5, (byte) 1);
    elf.putLong(0x28, sections).putShort(0x3a, (short) 64);
    elf.putShort(0x3c, (short) 3).putShort(0x3e, (short) 1);
    elf.put(namesAt, names).put(infoAt, info);
    section(elf, sections + 64, 1, namesAt, names.length);
    section(elf, sections + 128, 11, infoAt, info.length);
    return elf.array();
  }

  private static void section(ByteBuffer elf, int header, int name, long offset, long size) {
    elf.putInt(header, name).putLong(header + 0x18, offset).putLong(header + 0x20, size);
  }
}
