"""Point-BERT's transformer on groups of points, with masked-point modelling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from crosspoint.config.aligned import CloudConfig
from crosspoint.models.branch import Branch
from crosspoint.models.point_groups import Groups, group_points
from crosspoint.models.point_tokens import PointTokens
from crosspoint.models.transformer import Block

_POSITION_HIDDEN = 128
_INITIAL_DEVIATION = 0.02


class CloudBranch(nn.Module):
    """Clouds to the shared space; with a mask, also to what the masked losses compare.

    A cloud is cut into groups (`group`); a small PointNet makes a token of each, a linear map embeds it, and the
    position of the group's centre is added at the input of every block. The feature is the class token beside the
    maximum over the groups' tokens, projected. A mask replaces embedded tokens by one learned token.

    Source: Yu et al., "Point-BERT", CVPR 2022; masking and projection as in the authors' code of Cross-MoST.

    Args:
        config: Sizes.
        embedding: Channels of the shared space, C.

    Attributes:
        groups: Groups per cloud, G.
        group_size: Points per group, M.
        tokens: The network that makes the tokens; see `freeze_tokens`.
        projection: (2 W, C) to the shared space.
        compare: (W, S) to the space of the global-local loss, S = C.
    """

    def __init__(self, config: CloudConfig, embedding: int) -> None:
        super().__init__()
        self.groups = config.groups
        self.group_size = config.group_size
        self.tokens = PointTokens(config.token_widths)
        self.embed = nn.Linear(self.tokens.out_channels, config.width)
        self.class_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.class_position = nn.Parameter(torch.empty(1, 1, config.width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.position = nn.Sequential(
            nn.Linear(3, _POSITION_HIDDEN), nn.GELU(), nn.Linear(_POSITION_HIDDEN, config.width)
        )
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, drop_path=config.drop_path * layer / max(config.layers - 1, 1))
            for layer in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Parameter(torch.empty(2 * config.width, embedding))
        self.compare = nn.Parameter(torch.empty(config.width, embedding))
        self.predict = nn.Linear(config.width, config.width)
        self._frozen_statistics = False
        self._initialise(embedding)

    def _initialise(self, embedding: int) -> None:
        # The PointNet keeps torch's own scheme: it is trained from these weights where no dVAE is at hand.
        for module in (self.embed, *self.position, *self.blocks.modules()):
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_INITIAL_DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (self.class_token, self.class_position, self.mask_token):
            nn.init.trunc_normal_(token, std=_INITIAL_DEVIATION)
        nn.init.normal_(self.projection, std=embedding**-0.5)
        nn.init.normal_(self.compare)

    def freeze_tokens(self, *, statistics: bool = True) -> None:
        """Stops the training of the tokens' network.

        Args:
            statistics: Whether its BatchNorms also stop: they use their running statistics in training, too. False is
                the official code: batch statistics in training, and running statistics that drift.
        """
        self.tokens.requires_grad_(False)
        self._frozen_statistics = statistics
        self.train(self.training)

    def train(self, mode: bool = True) -> CloudBranch:
        """As for every module, except that frozen statistics stay so."""
        super().train(mode)
        if self._frozen_statistics:
            self.tokens.eval()
        return self

    def group(self, points: Tensor, generator: torch.Generator | None = None) -> Groups:
        """Cuts clouds (B, N, 3) into groups; see :func:`crosspoint.models.point_groups.group_points`."""
        return group_points(points, self.groups, self.group_size, generator)

    def forward(self, groups: Groups, mask: Tensor | None = None) -> Branch:
        """Encodes clouds.

        Args:
            groups: What `group` gives: centres (B, G, 3) and neighbourhoods (B, G, M, 3).
            mask: (B, G) bool, True for groups to hide; None for a plain pass.

        Returns:
            The feature; with a mask also summary, tokens (T = G), reconstruction, target and masked_target.
            Differentiable in the weights.

        Raises:
            ValueError: If groups or mask have another shape, or the mask another dtype.
        """
        centers, neighborhoods = groups
        if centers.dim() != 3 or neighborhoods.dim() != 4 or neighborhoods.shape[:2] != centers.shape[:2]:
            raise ValueError(
                f"groups must have centres (B, G, 3) and neighbourhoods (B, G, M, 3), "
                f"got {tuple(centers.shape)} and {tuple(neighborhoods.shape)}"
            )
        embedded = self.embed(self.tokens(neighborhoods))
        visible = embedded
        if mask is not None:
            if mask.shape != centers.shape[:2] or mask.dtype != torch.bool:
                raise ValueError(f"mask must be {tuple(centers.shape[:2])} bool, got {tuple(mask.shape)} {mask.dtype}")
            visible = torch.where(mask.unsqueeze(2), self.mask_token, embedded)
        first = self.class_token.expand(centers.shape[0], -1, -1)
        first_position = self.class_position.expand(centers.shape[0], -1, -1)
        tokens = torch.cat([first, visible], dim=1)
        positions = torch.cat([first_position, self.position(centers)], dim=1)
        for block in self.blocks:
            tokens = block(tokens + positions)
        tokens = self.norm(tokens)
        summary, rest = tokens[:, 0], tokens[:, 1:]
        feature = functional.normalize(torch.cat([summary, rest.amax(dim=1)], dim=1) @ self.projection, dim=1)
        if mask is None:
            return Branch(feature)
        return Branch(feature, summary @ self.compare, rest @ self.compare, self.predict(rest), embedded, visible)
