package dev.forkd.state;

/** An edge: the owner needs the layer. */
public record LayerRef(OwnerKind ownerKind, String ownerId, String layerId) {}
